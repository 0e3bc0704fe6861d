// ROC curves and ranks, from scores alone. The numbers of the table were computed by memdet; a test holds the two together.

/** Indices by descending score. */
function descending(scores) {
  return Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a]);
}

/** Points [fpr, tpr] from (0, 0) to (1, 1), one a distinct score; tied items are flagged together. */
function rocCurve(scores, labels) {
  const positives = labels.filter((label) => label === 1).length, negatives = labels.length - positives;
  const points = [[0, 0]];
  let found = 0, alarms = 0;
  descending(scores).forEach((item, place, order) => {
    if (labels[item] === 1) found += 1; else alarms += 1;
    if (place + 1 === order.length || scores[order[place + 1]] !== scores[item]) points.push([alarms / negatives, found / positives]);
  });
  return points;
}

/** Area under a curve: the AUROC with ties counting half. */
function areaUnder(points) {
  let area = 0;
  for (let i = 1; i < points.length; i += 1) area += (points[i][0] - points[i - 1][0]) * (points[i][1] + points[i - 1][1]) / 2;
  return area;
}

/** Percentile ranks, 0 lowest to 100 highest, ties in their middle. */
function percentiles(scores) {
  const order = descending(scores).reverse(), n = order.length, ranks = new Float64Array(n);
  for (let start = 0; start < n;) {
    let end = start;
    while (end + 1 < n && scores[order[end + 1]] === scores[order[start]]) end += 1;
    for (let i = start; i <= end; i += 1) ranks[order[i]] = (start + end) / 2 / Math.max(1, n - 1) * 100;
    start = end + 1;
  }
  return ranks;
}

/** Detectors that no cheaper or equally cheap one equals or exceeds, cheapest first. Values are [label, cost, value]. */
function paretoFront(values) {
  const front = [];
  const sorted = [...values].sort((a, b) => a[1] - b[1] || b[2] - a[2]);
  for (const entry of sorted) if (!front.length || entry[2] > front[front.length - 1][2]) front.push(entry);
  return front;
}

/** Value at a share of sorted numbers. */
function quantile(sorted, share) {
  const at = share * (sorted.length - 1), low = Math.floor(at), rest = at - low;
  return sorted[low] + (rest > 0 ? rest * (sorted[low + 1] - sorted[low]) : 0);
}
