// The heatmap: a row for each kind of group, a column for each layer.

const MAX_COLUMNS = 64;
const NO_LAYER = "–";

function makeMap(choose, narrow) {
  const box = find("map-chart");
  const chart = echarts.init(box, null, { height: 200 });
  let width = 0;
  const state = { checkpoint: null, metric: METRICS.relative, part: "", board: null, cursor: null, chosen: null };

  function lay() {
    const part = partsOf(state.checkpoint.groups).get(state.part) ?? state.checkpoint.groups;
    state.board = layBoard(part, state.metric);
    state.cursor = null;
    const { rows, left } = state.board;
    const shown = `${count(rows.length, "row")} of ${(rows.length + left).toLocaleString("en")}`;
    find("map-note").hidden = !left;
    find("map-note").textContent = `${shown}: the kinds of group that changed most. All groups are in the table.`;
    showLegend(state.board);
    draw();
    fillTable();
  }

  function draw() {
    if (!state.board) return;
    width = box.clientWidth;
    const frame = measureFrame(state.board, width);
    chart.resize({ width, height: frame.height, silent: true });
    box.style.height = `${frame.height}px`;
    const option = mapOption(state.board, state.metric, frame);
    chart.setOption({ ...option, series: [...option.series, ...outlines()] }, { notMerge: true });
    readOut();
  }

  /** The cells that are chosen and walked over, as series of their own. */
  function outlines() {
    return [
      outlineSeries("chosen", state.board.cellOf(state.chosen), { stroke: colour("mark") }),
      outlineSeries("cursor", state.cursor, { stroke: colour("accent"), lineDash: [5, 3] }),
    ];
  }

  function mark() {
    chart.setOption({ series: outlines() });
    readOut();
  }

  function readOut() {
    const read = state.cursor ?? state.board.cellOf(state.chosen);
    const words = read ? cellWords(read, state.metric) : "";
    if (find("map-readout").textContent !== words) find("map-readout").textContent = words;
  }

  function fillTable() {
    if (find("map-details").open) find("map-table").replaceChildren(boardTable(state.board, state.metric));
  }

  function open(cell) {
    if (!cell) return;
    const { pattern, layer, groups } = cell;
    const words = layer === null ? pattern : pattern.replace("*", layer);
    if (groups.length > 1) narrow(words, new Set(groups.map(({ kind }) => kind)));
    choose(cell.worst);
  }

  function walk(event) {
    const directions = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (event.key === "Enter" || event.key === " ") open(state.cursor);
    else if (event.key === "Home" || event.key === "End") moveTo(state.board.edge(state.cursor, event.key === "End"));
    else if (directions[event.key]) moveTo(state.board.next(state.cursor, ...directions[event.key]));
    else return;
    event.preventDefault();
  }

  function moveTo(cell) {
    state.cursor = cell ?? state.cursor ?? state.board.first();
    mark();
    bringIntoView(state.cursor);
  }

  /** Where columns are too many for the width, move the window over them. */
  function bringIntoView(cell) {
    const [zoom] = chart.getOption().dataZoom ?? [];
    if (!zoom || !cell) return;
    const { startValue, endValue } = zoom;
    if (cell.column >= startValue && cell.column <= endValue) return;
    const start = Math.min(cell.column, cell.column < startValue ? cell.column : startValue + cell.column - endValue);
    chart.dispatchAction({ type: "dataZoom", startValue: start, endValue: start + endValue - startValue });
  }

  box.addEventListener("keydown", walk);
  box.addEventListener("blur", () => {
    state.cursor = null;
    if (state.board) mark();
  });
  chart.on("click", ({ componentType, value, targetType }) => {
    if (componentType === "series") open(state.board.at(value[1], value[0]));
    else if (componentType === "yAxis" && targetType === "axisLabel") narrow(state.board.rows[Number(value)].pattern);
  });
  find("map-details").addEventListener("toggle", fillTable);
  find("map-metric").addEventListener("change", ({ target }) => {
    state.metric = METRICS[target.value];
    lay();
  });
  find("map-part").addEventListener("change", ({ target }) => {
    state.part = target.value;
    lay();
  });
  find("map-metric").replaceChildren(
    ...Object.entries(METRICS).map(([value, { label }]) => make("option", { value }, label)),
  );
  new ResizeObserver(() => {
    if (box.clientWidth !== width) draw();
  }).observe(box);

  return {
    restyle: draw,
    show(checkpoint, chosen) {
      Object.assign(state, { checkpoint, chosen });
      state.part = showParts(partsOf(checkpoint.groups));
      find("map").hidden = checkpoint.groups.length === 0;
      lay();
    },
    mark(group) {
      if (group === state.chosen) return;
      state.chosen = group;
      mark();
    },
  };
}

/** Offer the parts, and say which to begin with: the whole, unless its columns would be too many. */
function showParts(parts) {
  const field = find("map-part");
  field.replaceChildren(
    make("option", { value: "" }, "the whole checkpoint"),
    ...[...parts.keys()].map((stem) => make("option", { value: stem }, visible(stem))),
  );
  field.parentElement.hidden = parts.size < 2;
  const layers = (groups) => new Set(groups.map(({ layer }) => layer)).size;
  const isWide = layers([...parts.values()].flat()) > MAX_COLUMNS;
  const narrowest = [...parts].sort(([, one], [, two]) => layers(one) - layers(two))[0];
  field.value = isWide && parts.size > 1 ? narrowest[0] : "";
  return field.value;
}

function measureFrame(board, width) {
  const isNarrow = width < 520;
  const font = isNarrow ? 10.5 : 12;
  const room = Math.max(70, width * (isNarrow ? 0.42 : 0.34));
  const most = Math.floor(room / (font * 0.61));
  const names = rowNames(board, most);
  const letters = Math.min(
    most,
    names.reduce((longest, name) => Math.max(longest, name.length), 0),
  );
  const left = Math.ceil(letters * font * 0.61) + 14;
  const cell = Math.min((width - left - 10) / board.layers.length, 96);
  const line = board.rows.length > 40 ? 17 : board.rows.length > 20 ? 21 : 26;
  const zoomed = cell < 7;
  const below = 44 + (zoomed ? 30 : 0);
  // The ends of the scale are written beside it: about 80 pixels each.
  const breadth = cell * board.layers.length;
  const scaleLength = Math.min(220, Math.max(70, width - 170, 0), Math.max(90, breadth - 150));
  const scaleLeft = Math.max(4, Math.min(left, width - scaleLength - 166));
  return {
    font,
    names: names.map((name) => drawn(shortened(name, letters))),
    left,
    right: Math.max(10, width - left - breadth),
    cell,
    line,
    zoomed,
    scaleLength,
    scaleLeft,
    height: 26 + line * board.rows.length + below,
  };
}

/** The rows' names; where they are too long, without what those of layers begin with in common. */
function rowNames(board, length) {
  const names = board.rows.map(({ pattern }) => visible(pattern));
  const start = commonStart(names.filter((_, i) => board.rows[i].pattern.includes("*")));
  if (start.length < 4 || names.every((name) => name.length <= length)) return names;
  return names.map((name) => (name.startsWith(start) ? `…${name.slice(start.length)}` : name));
}

function mapOption(board, metric, frame) {
  const range = rangeOf(board, metric);
  const font = chartFont();
  const mono = {
    ...font,
    fontFamily: getComputedStyle(find("group-title")).fontFamily,
    fontSize: frame.font,
    color: colour("text"),
  };
  const bare = { axisLine: { show: false }, axisTick: { show: false }, splitLine: { show: false } };
  const layers = board.layers.map((layer) => layer ?? NO_LAYER);
  return {
    animation: false,
    textStyle: font,
    grid: {
      left: frame.left,
      right: frame.right,
      top: 26,
      height: frame.line * board.rows.length,
      outerBoundsMode: "none",
    },
    xAxis: {
      ...bare,
      type: "category",
      data: layers,
      position: "top",
      axisLabel: { ...font, hideOverlap: true, margin: 7, interval: "auto" },
      name: board.layers.some((layer) => layer !== null) ? "layer" : "",
      nameLocation: "start",
      nameGap: 8,
      nameTextStyle: { ...font, align: "right", verticalAlign: "bottom", padding: [0, 0, 6, 0] },
    },
    yAxis: {
      ...bare,
      type: "category",
      inverse: true,
      triggerEvent: true,
      data: board.rows.map((_, i) => String(i)),
      axisLabel: { ...mono, interval: 0, margin: 10, formatter: (i) => frame.names[i] },
    },
    visualMap: {
      type: "continuous",
      seriesIndex: 0,
      min: 0,
      max: 1,
      dimension: 2,
      calculable: false,
      orient: "horizontal",
      left: frame.scaleLeft,
      bottom: 4,
      itemWidth: 12,
      itemHeight: frame.scaleLength,
      inRange: { color: scaleColours() },
      hoverLink: true,
      text: [metric.text(range.high, 2), metric.text(range.low, 2)],
      textStyle: font,
      textGap: 8,
      show: board.cells.some(hasNumber),
    },
    dataZoom: frame.zoomed
      ? [
          {
            type: "slider",
            xAxisIndex: 0,
            bottom: 34,
            height: 16,
            brushSelect: false,
            showDetail: false,
            startValue: 0,
            endValue: Math.floor((board.layers.length * frame.cell) / 7),
          },
        ]
      : [],
    tooltip: { ...tooltipStyle(), formatter: ({ value }) => cellTip(board.at(value[1], value[0]), metric) },
    series: mapSeries(board, metric, range, frame),
  };
}

function mapSeries(board, metric, range, frame) {
  const border = {
    borderColor: colour("card"),
    borderWidth: frame.cell < 10 ? 0.5 : 1.5,
    borderRadius: frame.cell < 14 ? 0 : 3,
  };
  const numbers = board.cells.filter(hasNumber).map((cell) => {
    const place = range.at(cell.value);
    const text = inCell(metric.text(cell.value, 2));
    return {
      value: [cell.column, cell.row, place],
      label: {
        show: text.length * 6.4 + 4 <= frame.cell && frame.line >= 20,
        formatter: () => text,
        color: inkOn(place),
      },
    };
  });
  const signs = board.cells
    .filter((cell) => !hasNumber(cell))
    .map((cell) => ({ value: [cell.column, cell.row, 0], label: { formatter: () => signOf(cell) } }));
  const label = { show: true, fontSize: 11, fontFamily: chartFont().fontFamily };
  // All cells in one go: at most MAX_ROWS rows of them, and a chart that is only half there confuses.
  const still = {
    progressive: 0,
    itemStyle: border,
    emphasis: { itemStyle: { borderColor: colour("text"), borderWidth: 1.5 } },
  };
  return [
    { id: "numbers", type: "heatmap", data: numbers, label, ...still },
    {
      id: "signs",
      type: "heatmap",
      data: signs,
      label: { ...label, show: frame.cell >= 9, color: colour("text") },
      ...still,
      itemStyle: { ...border, color: colour("sunken") },
    },
  ];
}

/** A frame around a cell, or around none. */
function outlineSeries(id, cell, style) {
  return {
    id,
    type: "custom",
    data: cell ? [[cell.column, cell.row]] : [],
    silent: true,
    clip: true,
    z: 4,
    renderItem(params, api) {
      const [x, y] = api.coord([api.value(0), api.value(1)]);
      const [width, height] = api.size([1, 1]);
      const shape = { x: x - width / 2, y: y - height / 2, width, height, r: 3 };
      return { type: "rect", shape, style: { fill: "none", lineWidth: 2.5, ...style } };
    },
  };
}

/** A figure as it fits into a cell: the unit is that of the scale below. */
function inCell(text) {
  const plain = (digits) => [...digits].map((char) => (char === "⁻" ? "-" : "⁰¹²³⁴⁵⁶⁷⁸⁹".indexOf(char))).join("");
  return text
    .replace(" %", "")
    .replace(" × 10", "e")
    .replace(/[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+/, plain);
}

function cellTip(cell, metric) {
  if (!cell) return "";
  const [name, ...rest] = cellWords(cell, metric).slice(cell.worst.shown.length).split(": ");
  const words = [name.replace(/^, /, ""), rest.join(": ")].filter(Boolean);
  return tip(cell.worst.shown, ...words, form(cell.worst));
}

/** What the signs mean, for those that are on the board. */
function showLegend(board) {
  const signs = new Map(
    board.cells
      .filter((cell) => !hasNumber(cell))
      .map((cell) => [
        signOf(cell),
        cell.worst.kind === "modified" ? "modified, not measured" : WORDS[cell.worst.kind][1],
      ]),
  );
  find("map-legend").replaceChildren(
    ...[...signs].map(([sign, word]) => make("li", {}, make("b", { aria: { hidden: "true" } }, sign), word)),
  );
}

function boardTable(board, metric) {
  const heads = ["Kind of group", ...board.layers.map((layer) => (layer === null ? "no layer" : String(layer)))];
  const body = board.rows.map(({ pattern }, row) => {
    const cells = board.layers.map((_, column) => {
      const cell = board.at(row, column);
      return make(
        "td",
        {},
        cell ? (hasNumber(cell) ? about(cell.worst, metric.text(cell.value)) : WORDS[cell.worst.kind][1]) : "",
      );
    });
    return make("tr", {}, make("th", { scope: "row" }, visible(pattern)), ...cells);
  });
  const caption = make("caption", { className: "hidden" }, `${metric.label}, by kind of group and layer`);
  return make(
    "table",
    {},
    caption,
    make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...body),
  );
}
