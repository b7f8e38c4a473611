// What the address names, so that reloading, going back and links work.

export function chosen() {
  const named = new URLSearchParams(location.hash.slice(1));
  const partition = named.get('partition') ?? '';
  return {topic: named.get('topic') ?? '', partition: /^[0-9]{1,9}$/.test(partition) ? Number(partition) : 0};
}

function place(topic, partition) {
  return '#topic=' + encodeURIComponent(topic) + (partition > 0 ? '&partition=' + partition : '');
}

// go chooses.
export function go(topic, partition = 0) {
  location.hash = place(topic, partition);
}

// be says what is chosen, without another step to go back.
export function be(topic, partition = 0) {
  history.replaceState(null, '', place(topic, partition));
}
