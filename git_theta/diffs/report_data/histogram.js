// The histogram of the chosen group: before as an area with a dashed edge, after as a line, and below their difference.

function makeHistogram() {
  const chart = echarts.init(find("histogram-chart"), null, { height: 300 });
  const logarithmic = find("histogram-log");
  const details = find("histogram-details");
  let shown = null;

  function draw() {
    if (shown) chart.setOption(histogramOption(shown, logarithmic.checked), { notMerge: true });
  }

  function fillTable() {
    if (details.open && shown) find("histogram-table").replaceChildren(histogramTable(shown));
  }

  logarithmic.addEventListener("change", draw);
  details.addEventListener("toggle", fillTable);
  new ResizeObserver(() => chart.resize()).observe(find("histogram-chart"));
  return {
    restyle: draw,
    show(group) {
      shown = group.histogram && unpackHistogram(group);
      find("histogram").hidden = !shown;
      if (!shown) return;
      chart.resize();
      find("histogram-chart").setAttribute("aria-label", histogramWords(group, shown));
      find("histogram-note").textContent =
        "Below: how many more (up) or fewer (down) values lie in each range than before.";
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

/** Points of a line with steps. */
function steps(edges, counts, floor) {
  return [...counts.map((value, i) => [edges[i], Math.max(value, floor)]), [edges.at(-1), Math.max(counts.at(-1), floor)]];
}

function histogramOption(histogram, logarithmic) {
  const { edges, before, after } = histogram;
  const floor = logarithmic ? 0.5 : 0;
  const top = { type: "line", step: "end", symbol: "none", silent: true, animation: false };
  const series = [];
  if (before) {
    series.push({
      ...top,
      name: "before",
      data: steps(edges, before, floor),
      lineStyle: { color: colour("old"), width: 1.5, type: [4, 3] },
      areaStyle: { color: colour("old"), opacity: 0.22, origin: "start" },
      z: 2,
    });
  }
  if (after) {
    series.push({
      ...top,
      name: "after",
      data: steps(edges, after, floor),
      lineStyle: { color: colour("new"), width: 1.75 },
      ...(before ? {} : { areaStyle: { color: colour("new"), opacity: 0.16, origin: "start" } }),
      z: 3,
    });
  }
  const both = before && after;
  if (both) series.push(differenceSeries(histogram));
  return { ...histogramFrame(histogram, logarithmic, both), series };
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
  const axis = { axisLine: faint, axisTick: { show: false }, splitLine: faint, axisLabel: { ...font, hideOverlap: true } };
  const left = 52;
  const grid = [{ left, right: 8, top: 30, height: both ? 150 : 220 }];
  const xAxis = [
    { ...axis, type: "value", min: edges[0], max: edges.at(-1), splitNumber: 4, splitLine: { show: false } },
  ];
  xAxis[0].axisLabel = { ...axis.axisLabel, formatter: (value) => figure(value, 2), showMinLabel: false, showMaxLabel: false };
  const yAxis = [
    { ...axis, type: logarithmic ? "log" : "value", splitNumber: 3, min: logarithmic ? 0.5 : 0 },
  ];
  yAxis[0].axisLabel = { ...axis.axisLabel, formatter: (value) => (value < 1 ? "0" : briefly(value)) };
  if (both) {
    grid.push({ left, right: 8, top: 222, height: 64 });
    xAxis.push({ ...axis, type: "category", gridIndex: 1, data: before.map((_, i) => i), axisLabel: { show: false } });
    yAxis.push({ ...axis, type: "value", gridIndex: 1, splitNumber: 2 });
    yAxis[1].axisLabel = { ...axis.axisLabel, formatter: (value) => (value > 0 ? `+${briefly(value)}` : briefly(value)) };
  }
  const names = [before && "before", after && "after"].filter(Boolean);
  return {
    textStyle: font,
    grid,
    xAxis,
    yAxis,
    legend: undefined,
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
