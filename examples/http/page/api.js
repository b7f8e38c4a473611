// Requests to the server.

const patience = 8000; // ms without an answer, after which there is none

// NoAnswer is the error of a server that is not there.
export class NoAnswer extends Error {
  constructor(cause) {
    super('The server does not answer.', {cause});
  }
}

// Problem is an answer that is an error.
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
  let answer, body;
  try {
    answer = await fetch(address(path, params), {signal: AbortSignal.timeout(patience)});
    body = await answer.json();
  } catch (err) {
    throw new NoAnswer(err);
  }
  if (!answer.ok) throw new Problem(body, answer.status);
  return body;
}

// shared lets those who want the same at the same time have one answer.
export function shared(ask) {
  let under = {};
  return (what) => {
    if (under.what !== what) {
      const mine = {what};
      mine.answer = ask(what).finally(() => { if (under === mine) under = {}; });
      under = mine;
    }
    return under.answer;
  };
}

// why is an error of get in words for the user. Others are ours: they go on, to
// the console.
export function why(err) {
  if (!(err instanceof Problem || err instanceof NoAnswer)) throw err;
  return err.message;
}

export const topicPath = (name) => 'topics/' + encodeURIComponent(name);
