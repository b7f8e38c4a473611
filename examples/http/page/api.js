// Requests to the server.

const patience = 8000; // ms without an answer, after which there is none

// Problem is an answer that is an error. Other errors mean that there is no answer.
export class Problem extends Error {
  constructor(body, status) {
    super(body.error ?? `The server answered ${status}.`);
    this.code = body.code;
    this.body = body;
  }
}

export function address(path, params = {}) {
  const url = new URL(path, document.baseURI);
  url.hash = '';
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== '') url.searchParams.set(name, value);
  }
  return url;
}

export async function get(path, params) {
  const answer = await fetch(address(path, params), {signal: AbortSignal.timeout(patience)});
  const body = await answer.json();
  if (!answer.ok) throw new Problem(body, answer.status);
  return body;
}

// why is an error in words for the user.
export function why(err) {
  return err instanceof Problem ? err.message : 'The server does not answer.';
}

export const topicPath = (name) => 'topics/' + encodeURIComponent(name);
