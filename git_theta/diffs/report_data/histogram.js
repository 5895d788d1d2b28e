// The histogram of the chosen group: before as an area with a dashed edge, after as a line, and below their difference.

function makeHistogram() {
  const box = find("histogram-chart");
  const chart = echarts.init(box, null, { height: 300 });
  const logarithmic = find("histogram-log");
  const details = find("histogram-details");
  let shown = null;

  function draw() {
    if (shown) chart.setOption(histogramOption(shown, logarithmic.checked), { notMerge: true });
  }

  function fit() {
    if (box.clientWidth > 0 && box.clientWidth !== chart.getWidth()) chart.resize({ width: box.clientWidth });
  }

  function fillTable() {
    if (details.open && shown) find("histogram-table").replaceChildren(histogramTable(shown));
  }

  logarithmic.addEventListener("change", draw);
  details.addEventListener("toggle", fillTable);
  new ResizeObserver(fit).observe(box);
  return {
    restyle: draw,
    show(group) {
      shown = group.histogram && unpackHistogram(group);
      find("histogram").hidden = !shown;
      if (!shown) return;
      fit();
      box.setAttribute("aria-label", histogramWords(group, shown));
      const [isBefore, isAfter] = [shown.before, shown.after].map(Boolean);
      find("histogram-keys").children[0].hidden = !isBefore;
      find("histogram-keys").children[1].hidden = !isAfter;
      find("histogram-note").textContent =
        isBefore && isAfter ? "Below: how many more or fewer values each range has than before." : "";
      draw();
      fillTable();
    },
  };
}

function unpackHistogram(group) {
  const [edges, before, after] = group.histogram;
  return { edges: edges.map(number), before: group.before ? before : null, after: group.after ? after : null };
}

function histogramWords(group, { edges, before, after }) {
  const described = (counts) => {
    const most = counts.indexOf(Math.max(...counts));
    return `most between ${figure(edges[most])} and ${figure(edges[most + 1])}`;
  };
  const parts = [before && `before: ${described(before)}`, after && `after: ${described(after)}`].filter(Boolean);
  const range = `${edges.length - 1} ranges from ${figure(edges[0])} to ${figure(edges.at(-1))}`;
  return `Histogram of ${group.shown}, ${range}; ${parts.join("; ")}.`;
}

function histogramTable({ edges, before, after }) {
  const head = ["From", "To", ...(before ? ["Before"] : []), ...(after ? ["After"] : [])];
  const rows = edges.slice(0, -1).map((edge, i) => {
    const counts = [before, after].filter(Boolean).map((counted) => counted[i].toLocaleString("en"));
    return make("tr", {}, ...[figure(edge, 4), figure(edges[i + 1], 4), ...counts].map((text) => make("td", {}, text)));
  });
  const heads = head.map((text) => make("th", { scope: "col" }, text));
  return make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
}

function histogramOption(histogram, logarithmic) {
  const { edges, before, after } = histogram;
  const floor = logarithmic ? 0.5 : 0;
  const series = [];
  if (before)
    series.push(stepSeries(edges, before, floor, { stroke: colour("old"), lineWidth: 1.5, lineDash: [4, 3] }, true));
  if (after) series.push(stepSeries(edges, after, floor, { stroke: colour("new"), lineWidth: 1.75 }, !before));
  const both = before && after;
  if (both) series.push(differenceSeries(histogram));
  return { ...histogramFrame(histogram, logarithmic, both), series };
}

/** A line with a step for each range, filled or not. The library's own line would cut small steps short. */
function stepSeries(edges, counts, floor, style, filled) {
  const middles = counts.map((value, i) => [edges[i] / 2 + edges[i + 1] / 2, value]);
  return {
    type: "custom",
    data: middles,
    silent: true,
    animation: false,
    clip: true,
    renderItem(params, api) {
      if (params.dataIndexInside > 0) return null;
      const corners = counts.flatMap((value, i) =>
        [edges[i], edges[i + 1]].map((edge) => api.coord([edge, Math.max(value, floor)])),
      );
      const ground = [edges.at(-1), edges[0]].map((edge) => api.coord([edge, floor]));
      const line = { type: "polyline", shape: { points: corners }, style: { ...style, fill: "none" } };
      if (!filled) return line;
      const area = {
        type: "polygon",
        shape: { points: [...corners, ...ground] },
        style: { fill: style.stroke, opacity: 0.2 },
      };
      return { type: "group", children: [area, line] };
    },
  };
}

/** The difference, as bars on an axis of ranges, which lie where they lie above. */
function differenceSeries({ before, after }) {
  const data = after.map((value, i) => {
    const more = value - before[i];
    return { value: more, itemStyle: { color: colour(more < 0 ? "less" : "more") } };
  });
  return { type: "bar", xAxisIndex: 1, yAxisIndex: 1, data, barCategoryGap: "12%", silent: true, animation: false };
}

function histogramFrame(histogram, logarithmic, both) {
  const { edges, before, after } = histogram;
  const font = chartFont();
  const faint = { lineStyle: { color: colour("line") } };
  const axis = {
    axisLine: faint,
    axisTick: { show: false },
    splitLine: faint,
    axisLabel: { ...font, hideOverlap: true },
  };
  const left = 52;
  const grid = [{ left, right: 8, top: 30, height: both ? 150 : 220 }];
  const xAxis = [
    { ...axis, type: "value", min: edges[0], max: edges.at(-1), splitNumber: 4, splitLine: { show: false } },
  ];
  xAxis[0].axisLabel = {
    ...axis.axisLabel,
    formatter: (value) => figure(value, 2),
    showMinLabel: false,
    showMaxLabel: false,
  };
  const yAxis = [{ ...axis, type: logarithmic ? "log" : "value", splitNumber: 3, min: logarithmic ? 0.5 : 0 }];
  yAxis[0].axisLabel = { ...axis.axisLabel, formatter: (value) => (value < 1 ? "0" : briefly(value)) };
  if (both) {
    grid.push({ left, right: 8, top: 222, height: 64 });
    xAxis.push({ ...axis, type: "category", gridIndex: 1, data: before.map((_, i) => i), axisLabel: { show: false } });
    yAxis.push({ ...axis, type: "value", gridIndex: 1, splitNumber: 2 });
    yAxis[1].axisLabel = {
      ...axis.axisLabel,
      formatter: (value) => (value > 0 ? `+${briefly(value)}` : briefly(value)),
    };
  }
  const names = [before && "before", after && "after"].filter(Boolean);
  return {
    textStyle: font,
    grid,
    xAxis,
    yAxis,
    tooltip: { ...tooltipStyle(), trigger: "axis", formatter: (params) => histogramTip(params, histogram, names) },
  };
}

function histogramTip(params, { edges, before, after }) {
  const { axisIndex, axisValue, axisValueLabel } = params[0];
  const found = axisIndex === 1 ? Number(axisValueLabel) : edges.findLastIndex((edge) => edge <= axisValue);
  const at = Math.min(Math.max(found, 0), edges.length - 2);
  const lines = [];
  if (before) lines.push(`before: ${count(before[at], "value")}`);
  if (after) lines.push(`after: ${count(after[at], "value")}`);
  return tip(`${figure(edges[at])} to ${figure(edges[at + 1])}`, ...lines);
}

/** 12,000 as 12k. */
function briefly(value) {
  const size = Math.abs(value);
  const sign = value < 0 ? "−" : "";
  if (size >= 1e9) return `${sign}${figure(size / 1e9)}G`;
  if (size >= 1e6) return `${sign}${figure(size / 1e6)}M`;
  if (size >= 1e3) return `${sign}${figure(size / 1e3)}k`;
  return figure(value);
}
