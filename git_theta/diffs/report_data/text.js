// Numbers, names and elements. What comes from a checkpoint gets into the page as text alone, never as markup.

const NONE = "–";
const WORDS = {
  modified: ["±", "modified"],
  added: ["+", "added"],
  removed: ["−", "removed"],
  renamed: ["→", "renamed"],
  retyped: ["T", "retyped"],
  reshaped: ["▭", "reshaped"],
  unchanged: ["·", "unchanged"],
};

/** Make an element: properties as they are called in the DOM, `data` and `aria` apart; strings become text nodes. */
function make(tag, properties = {}, ...children) {
  const { data = {}, aria = {}, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

function find(id) {
  return document.getElementById(id);
}

/** A name with what would not be seen, or would turn the text around, written as its code point. */
function visible(name) {
  if (name === "") return "(no name)";
  return name.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
}

/** A name for a narrow place: its end tells most. */
function shortened(name, length) {
  return name.length <= length ? name : `…${name.slice(name.length - length + 1)}`;
}

/**
 * A name for a chart. The library keeps the widths of texts in a plain object: a text like "__proto__" would find, and
 * change, what all objects inherit. With a space of no width it is another one.
 */
function drawn(name) {
  return name in Object.prototype ? `${name}\u200b` : name;
}

/** What names begin with in common, as far as whole parts of them. */
function commonStart(names) {
  if (names.length < 2) return "";
  const same = (name) => [...names[0]].findIndex((char, i) => name[i] !== char);
  const length = names.map(same).reduce((least, at) => (at < 0 ? least : Math.min(least, at)), names[0].length);
  return names[0].slice(0, length).replace(/[^./]*$/, "");
}

/** JSON has no infinity: it is the string "inf" there. */
function number(value) {
  if (value === null || value === undefined) return null;
  return typeof value === "string" ? Number(value.replace("inf", "Infinity")) : value;
}

function raised(exponent) {
  const signs = { "-": "⁻", "+": "" };
  return [...String(exponent)].map((char) => signs[char] ?? "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(char)]).join("");
}

/** A number with few digits, zeros at the end if `padded`; with a power of ten where zeros would crowd it. */
function figure(value, digits = 3, padded = false) {
  if (value === null) return NONE;
  if (Number.isNaN(value)) return "not a number";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) {
    const [mantissa, exponent] = size.toExponential(Math.min(digits, 2) - 1).split("e");
    return `${value < 0 ? "−" : ""}${mantissa} × 10${raised(exponent)}`;
  }
  const written = value.toLocaleString("en", {
    maximumSignificantDigits: digits,
    ...(padded && !Number.isInteger(value) ? { minimumSignificantDigits: digits } : {}),
  });
  return written.replace("-", "−");
}

function percent(share, digits = 3) {
  if (share === null) return NONE;
  return Number.isFinite(share) ? `${figure(100 * share, digits, true)} %` : figure(share);
}

/** A share of a whole in percent: "100 %" only if it is all of it. */
function portion(share, digits = 3) {
  if (share === null || share <= 0 || share >= 1) return percent(share, digits);
  const most = 1 - 10 ** (1 - digits) / 10;
  return percent(Math.min(share, most), digits);
}

function cosine(value) {
  if (value === null) return NONE;
  const short = 1 - Math.abs(value);
  if (short > 0 && short < 1e-5) return value < 0 ? `−1 + ${figure(short, 2)}` : `1 − ${figure(short, 2)}`;
  return value.toFixed(5).replace("-", "−");
}

function bytes(count) {
  if (count === null) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  let size = count;
  while (size >= 999.95 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`;
}

function count(many, noun) {
  return `${many.toLocaleString("en")} ${noun}${many === 1 ? "" : "s"}`;
}

function shape(dimensions) {
  return dimensions.length === 0 ? "scalar" : dimensions.join("\u00a0×\u00a0");
}

/** "F32 768 × 2304", or both sides where they differ. */
function form(group) {
  const [before, after] = [group.before, group.after].map((side) => side && `${side.dtype} ${shape(side.shape)}`);
  if (before && after && before !== after) return `${before} → ${after}`;
  return after ?? before;
}

/** Whether the figures of a group are estimates: they get a sign then. */
function about(group, text) {
  return group.exact === false && text !== NONE ? `≈ ${text}` : text;
}
