// What happened between two answers of the server, whose counts only grow.

// perSecond is the growth of a count a second, or null when the server has been
// started again meanwhile.
export function perSecond(now, before, seconds) {
  if (before === undefined || seconds <= 0 || now < before) return null;
  return (now - before) / seconds;
}

// below is how many of a histogram's durations are not longer than a bound.
function below(buckets, bound) {
  let n = 0;
  for (const [longest, count] of buckets) {
    if (bound !== 0 && (longest === 0 || longest > bound)) break;
    n = count;
  }
  return n;
}

// quantile is the duration, in ns, that the share q of those between two
// histograms are not longer than; null when there were none.
export function quantile(now, before, q) {
  if (before === undefined || now.count < before.count) return null;
  const all = now.count - before.count;
  if (all === 0) return null;
  for (const [longest, count] of now.buckets) {
    if (count - below(before.buckets, longest) >= q * all) return longest === 0 ? Infinity : longest;
  }
  return null;
}
