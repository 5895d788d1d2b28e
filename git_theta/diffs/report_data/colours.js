// Light and dark. The colours of the heatmap are "mako" of the seaborn library: even steps of lightness, told apart
// with every kind of colour vision; on a dark page the other way round, so that more always stands out more.

const MAKO = [
  "#231526",
  "#35264c",
  "#403a75",
  "#3d5296",
  "#366da0",
  "#3487a6",
  "#35a1ab",
  "#43bbad",
  "#6cd3ad",
  "#ade3c0",
  "#def5e5",
];

function isDark() {
  return document.documentElement.hasAttribute("data-dark");
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function scaleColours() {
  return isDark() ? MAKO.slice(1) : [...MAKO].reverse();
}

function channels(hex) {
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

/** Black or white: what is easier to read on a place of the scale, 0 to 1. */
function inkOn(place) {
  const stops = scaleColours();
  const at = Math.min(Math.max(place, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  const [from, to] = [channels(stops[low]), channels(stops[low + 1])];
  const linear = from.map((value, i) => ((value + (to[i] - value) * (at - low)) / 255) ** 2.2);
  const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return luminance > 0.179 ? "#0b0d10" : "#ffffff";
}

/** Follow the choice of the person, or else of the system; `changed` is called when the colours are others. */
function watchTheme(changed) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const chosen = document.querySelector("input[name=theme]:checked").value;
    const dark = chosen === "dark" || (chosen === "auto" && system.matches);
    if (dark === isDark()) return;
    document.documentElement.toggleAttribute("data-dark", dark);
    changed();
  };
  find("theme").addEventListener("change", apply);
  system.addEventListener("change", apply);
  addEventListener("pageshow", apply);
  apply();
}

/** What all charts share. */
function chartFont() {
  return { fontFamily: getComputedStyle(document.body).fontFamily, fontSize: 12, color: colour("muted") };
}

function tooltipStyle() {
  return {
    confine: true,
    backgroundColor: colour("card"),
    borderColor: colour("line"),
    padding: [8, 12],
    textStyle: { ...chartFont(), fontSize: 13, color: colour("text") },
  };
}

function tip(title, ...lines) {
  return make("div", { className: "tip" }, make("strong", {}, title), ...lines.map((line) => make("div", {}, line)));
}
