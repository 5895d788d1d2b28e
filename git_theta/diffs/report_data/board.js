// The board of the heatmap: which group stands where, what a cell says, and how one gets from cell to cell.

const MAX_ROWS = 60;

/** The parts of a model that have layers of their own, by what stands before the number: "encoder.*", "decoder.*". */
function partsOf(groups) {
  const parts = new Map();
  for (const group of groups) {
    if (group.layer === null) continue;
    const stem = group.pattern.slice(0, group.pattern.indexOf("*") + 1);
    if (!parts.has(stem)) parts.set(stem, []);
    parts.get(stem).push(group);
  }
  return parts;
}

/** Put the groups on a board of rows and columns. */
function layBoard(groups, metric) {
  const byPattern = groupedBy(groups, ({ pattern }) => pattern);
  let rows = [...byPattern].map(([pattern, members]) => ({
    pattern,
    members,
    most:
      metric.value(largestOf(members, metric) ?? members[0]) ??
      (members.some(({ kind }) => kind !== "unchanged") ? 0 : -1),
  }));
  const left = Math.max(0, rows.length - MAX_ROWS);
  if (left) {
    const kept = new Set([...rows].sort((one, two) => compare(two.most, one.most)).slice(0, MAX_ROWS));
    rows = rows.filter((row) => kept.has(row));
  }
  const layers = [...new Set(rows.flatMap(({ members }) => members.map(({ layer }) => layer)))].sort(
    (a, b) => (a ?? -1) - (b ?? -1),
  );
  const columnOf = new Map(layers.map((layer, i) => [layer, i]));
  const cells = new Map();
  rows.forEach(({ pattern, members }, row) => {
    for (const [layer, here] of groupedBy(members, (group) => group.layer)) {
      const worst = largestOf(here, metric) ?? here.find(({ kind }) => kind !== "unchanged") ?? here[0];
      const column = columnOf.get(layer);
      cells.set(`${row}:${column}`, { row, column, pattern, layer, groups: here, worst, value: metric.value(worst) });
    }
  });
  return { rows, layers, cells: [...cells.values()], left, ...moves(cells, rows.length, layers.length) };
}

/** How one gets from cell to cell; places without a group are stepped over. */
function moves(cells, height, width) {
  const at = (row, column) => cells.get(`${row}:${column}`) ?? null;
  const line = (row, columns) => columns.map((column) => at(row, column)).find(Boolean) ?? null;
  const all = Array.from({ length: width }, (_, i) => i);
  const nearest = (row, column) =>
    line(
      row,
      [...all].sort((a, b) => Math.abs(a - column) - Math.abs(b - column)),
    );
  const first = () => cells.values().next().value ?? null;
  return {
    at,
    first,
    cellOf: (group) => (group ? ([...cells.values()].find(({ groups }) => groups.includes(group)) ?? null) : null),
    edge: (cell, last) => (cell ? line(cell.row, last ? [...all].reverse() : all) : first()),
    next(cell, down, right) {
      if (!cell) return first();
      if (down) return cell.row + down < 0 || cell.row + down >= height ? null : nearest(cell.row + down, cell.column);
      return line(cell.row, right > 0 ? all.slice(cell.column + 1) : all.slice(0, cell.column).reverse());
    },
  };
}

function hasNumber(cell) {
  return cell.value !== null && cell.worst.kind !== "unchanged";
}

/** The sign of a cell without a number: what happened to its group. */
function signOf(cell) {
  return cell.worst.kind === "modified" ? "?" : WORDS[cell.worst.kind][0];
}

function cellWords(cell, metric) {
  const { worst, groups, layer } = cell;
  const what = hasNumber(cell)
    ? `${metric.label} ${about(worst, metric.text(cell.value))}`
    : worst.kind === "modified"
      ? "modified, not measured"
      : WORDS[worst.kind][1];
  const kind = hasNumber(cell) && worst.kind !== "modified" ? `, ${WORDS[worst.kind][1]}` : "";
  const many = groups.length > 1 ? `; ${groups.length} groups, the largest is shown` : "";
  return `${worst.shown}${layer === null ? "" : `, layer ${layer}`}: ${what}${kind}${many}`;
}

/** Where a value lies between the least and the largest of the board: on a scale of sums or of factors. */
function rangeOf(board, metric) {
  const values = board.cells
    .filter(hasNumber)
    .map(({ value }) => value)
    .filter((value) => Number.isFinite(value) && (value > 0 || metric.scale === "linear"));
  if (values.length === 0) return { low: 0, high: 1, at: () => 1 };
  const most = values.reduce((a, b) => Math.max(a, b));
  const least = values.reduce((a, b) => Math.min(a, b));
  if (metric.scale === "linear")
    return { low: 0, high: most || 1, at: (value) => (Number.isFinite(value) ? value / (most || 1) : 1) };
  const low = Math.max(least, most * 1e-6) * (least === most ? 0.5 : 1);
  const span = Math.log(most / low);
  const at = (value) =>
    Number.isFinite(value) ? (value > 0 ? Math.min(Math.max(Math.log(value / low) / span, 0), 1) : 0) : 1;
  return { low, high: most, at };
}
