// The data of the page, unpacked (see report_rows.py for how it is packed).

function unpack(document_) {
  return document_.checkpoints.map((packed) => {
    const groups = packed.groups.map((row, place) => unpackGroup(row, place, packed));
    return {
      ...packed,
      title: visible(packed.new_path ?? packed.old_path),
      groups,
      changes: groups.filter((group) => group.kind !== "unchanged"),
    };
  });
}

function unpackGroup(row, place, packed) {
  const [name, pattern, layer, kind, before, after, relative, largest, changed, alike, exact, update, kept] = row;
  const old = side(before, name);
  return {
    name,
    shown: visible(name),
    place,
    pattern: packed.patterns[pattern],
    layer,
    kind,
    before: old,
    after: after === 0 ? old : side(after, name),
    relative: number(relative),
    largest: number(largest),
    changed: number(changed),
    cosine: number(alike),
    exact: exact ?? null,
    update: update ?? null,
    kept: kept ?? null,
    histogram: packed.histograms[place] ?? null,
  };
}

function side(packed, name) {
  if (!packed) return null;
  const [dtype, dimensions, nbytes, other] = packed;
  return { name: other ?? name, dtype, shape: dimensions, nbytes };
}

/** What the heatmap can show; `scale` says whether a step is a sum or a factor. */
const METRICS = {
  relative: { label: "relative change", value: (group) => group.relative, text: percent, scale: "log" },
  changed: { label: "share of values changed", value: (group) => group.changed, text: portion, scale: "linear" },
  largest: { label: "largest change of a value", value: (group) => group.largest, text: figure, scale: "log" },
  turned: {
    label: "change of direction (1 − cosine)",
    value: (group) => (group.cosine === null ? null : Math.max(0, 1 - group.cosine)),
    text: (value) => figure(value, 2),
    scale: "log",
  },
};

/** The group of which a metric is largest; null where none has one. */
function largestOf(groups, metric) {
  const known = groups.filter((group) => metric.value(group) !== null);
  return known.reduce((best, group) => (best && metric.value(best) >= metric.value(group) ? best : group), null);
}

/** Items by what a function gives of them, in their order. */
function groupedBy(items, key) {
  const found = new Map();
  for (const item of items) {
    const value = key(item);
    if (found.has(value)) found.get(value).push(item);
    else found.set(value, [item]);
  }
  return found;
}
