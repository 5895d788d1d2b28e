// The table of groups: sorted by its heads, narrowed by words and kinds, in pages, so that 20,000 rows stay quick.

const PAGE_ROWS = 50;

const COLUMNS = [
  { key: "name", label: "Group", value: (group) => group.place, fill: nameCell },
  {
    key: "kind",
    label: "Change",
    value: (group) => Object.keys(WORDS).indexOf(group.kind),
    fill: kindCell,
    hide: "hide-1",
  },
  {
    key: "relative",
    label: "Relative",
    title: "‖new − old‖ / ‖old‖",
    value: (group) => group.relative,
    fill: relativeCell,
    number: true,
  },
  {
    key: "changed",
    label: "Values changed",
    value: (group) => group.changed,
    fill: textCell(({ changed }) => portion(changed)),
    number: true,
    hide: "hide-1",
  },
  {
    key: "largest",
    label: "Largest",
    title: "the largest |new − old|",
    value: (group) => group.largest,
    fill: textCell(({ largest }) => figure(largest)),
    number: true,
    hide: "hide-1",
  },
  {
    key: "cosine",
    label: "Cosine",
    value: (group) => group.cosine,
    fill: textCell((group) => about(group, cosine(group.cosine))),
    number: true,
    hide: "hide-4",
  },
  {
    key: "form",
    label: "Dtype and shape",
    value: (group) => group.after?.nbytes ?? group.before?.nbytes,
    fill: textCell(form),
    hide: "hide-3",
  },
  {
    key: "kept",
    label: "Kept",
    title: "what the change adds to the store",
    value: (group) => group.kept,
    fill: keptCell,
    number: true,
    hide: "hide-2",
  },
];

function nameCell(group) {
  const renamed = group.before && group.after && group.before.name !== group.after.name;
  return [
    make("button", { type: "button", className: "pick", data: { place: group.place } }, make("bdi", {}, group.shown)),
    renamed
      ? make("span", { className: "was" }, "was ", make("bdi", { className: "name" }, visible(group.before.name)))
      : null,
  ].filter(Boolean);
}

function kindCell(group) {
  const [sign, word] = WORDS[group.kind];
  return [make("span", { className: `kind kind-${group.kind}` }, make("b", { aria: { hidden: "true" } }, sign), word)];
}

function relativeCell(group, scale) {
  const cell = [about(group, percent(group.relative))];
  if (group.relative > 0) {
    const bar = make("i", { className: "size", aria: { hidden: "true" } });
    bar.style.setProperty("--share", `${100 * scale(group.relative)}%`);
    cell.push(bar);
  }
  return cell;
}

function keptCell(group) {
  return [
    group.kept === null ? NONE : bytes(group.kept),
    group.update ? make("span", { className: "was" }, group.update) : null,
  ].filter(Boolean);
}

function textCell(text) {
  return (group) => [text(group)];
}

function makeTable(choose) {
  const state = {
    groups: [],
    shown: [],
    kinds: new Set(),
    words: "",
    sort: "relative",
    down: true,
    page: 0,
    chosen: null,
  };
  const scales = { relative: () => 0 };

  function sorted() {
    const { value } = COLUMNS.find((column) => column.key === state.sort);
    const way = state.down ? -1 : 1;
    // What is unknown comes last, whichever way; equal ones stay in file order.
    return state.groups.filter(matcher(state)).sort((one, two) => {
      const [a, b] = [value(one), value(two)];
      if (a === null || b === null) return (a === null) - (b === null) || one.place - two.place;
      return way * compare(a, b) || one.place - two.place;
    });
  }

  function refresh(page = 0) {
    state.shown = sorted();
    turn(page);
    const total = state.groups.filter((group) => group.kind !== "unchanged").length;
    const changed = state.shown.filter((group) => group.kind !== "unchanged").length;
    const rest = state.shown.length - changed;
    const more = rest ? `, ${rest.toLocaleString("en")} unchanged` : "";
    const text = `${changed.toLocaleString("en")} of ${count(total, "change")} shown${more}`;
    if (find("count").textContent !== text) find("count").textContent = text;
    const { label } = COLUMNS.find(({ key }) => key === state.sort);
    find("caption").textContent = `Groups, sorted by ${label}, ${state.down ? "descending" : "ascending"}`;
    showEmpty(total);
  }

  function showEmpty(total) {
    find("no-rows").hidden = state.shown.length > 0;
    find("table").hidden = state.shown.length === 0;
    find("no-rows-text").textContent = total === 0 && state.words === "" ? "No group changed." : "No group matches.";
    find("reset").hidden = total === 0 && state.words === "";
  }

  function turn(page) {
    const pages = Math.max(1, Math.ceil(state.shown.length / PAGE_ROWS));
    state.page = Math.min(Math.max(page, 0), pages - 1);
    const first = state.page * PAGE_ROWS;
    find("rows").replaceChildren(...state.shown.slice(first, first + PAGE_ROWS).map(row));
    find("pager").hidden = pages === 1;
    const last = Math.min(first + PAGE_ROWS, state.shown.length);
    const [from, to, all] = [first + 1, last, state.shown.length].map((place) => place.toLocaleString("en"));
    find("page-position").textContent = `${from}–${to} of ${all}`;
    for (const id of ["page-first", "page-previous"]) find(id).disabled = state.page === 0;
    for (const id of ["page-next", "page-last"]) find(id).disabled = state.page === pages - 1;
  }

  function row(group) {
    const cells = COLUMNS.map((column, i) => {
      const className = [column.number ? "number" : "", column.hide ?? ""].join(" ").trim();
      const content = column.fill(group, scales.relative);
      return i === 0 ? make("th", { scope: "row", className }, ...content) : make("td", { className }, ...content);
    });
    const line = make("tr", { data: { place: group.place } }, ...cells);
    if (group === state.chosen) line.setAttribute("aria-current", "true");
    return line;
  }

  function showHeads() {
    find("heads").replaceChildren(
      ...COLUMNS.map((column) => {
        const button = make(
          "button",
          { type: "button", className: "sort", title: column.title ?? "", data: { key: column.key } },
          column.label,
        );
        const className = [column.number ? "number" : "", column.hide ?? ""].join(" ").trim();
        return make("th", { scope: "col", className, aria: { sort: "none" } }, button);
      }),
    );
    markSort();
  }

  function markSort() {
    for (const head of find("heads").children) {
      const isSorted = head.firstChild.dataset.key === state.sort;
      head.setAttribute("aria-sort", isSorted ? (state.down ? "descending" : "ascending") : "none");
    }
  }

  function showKinds() {
    const counts = groupedBy(state.groups, ({ kind }) => kind);
    find("kinds").replaceChildren(
      ...Object.keys(WORDS)
        .filter((kind) => counts.has(kind))
        .map((kind) => {
          const text = `${WORDS[kind][1]} ${counts.get(kind).length.toLocaleString("en")}`;
          return make(
            "button",
            { type: "button", className: "chip", data: { kind }, aria: { pressed: state.kinds.has(kind) } },
            text,
          );
        }),
    );
  }

  function narrow(words, kinds = null) {
    state.words = words;
    find("search").value = words;
    if (kinds) state.kinds = kinds;
    showKinds();
    refresh();
  }

  const standard = () => new Set(state.groups.map(({ kind }) => kind).filter((kind) => kind !== "unchanged"));

  find("heads").addEventListener("click", ({ target }) => {
    const { key } = target.dataset;
    if (!key) return;
    const isNumber = key !== "name" && key !== "kind";
    Object.assign(state, { sort: key, down: state.sort === key ? !state.down : isNumber });
    markSort();
    refresh();
  });
  find("kinds").addEventListener("click", ({ target }) => {
    const { kind } = target.dataset;
    if (!kind) return;
    if (!state.kinds.delete(kind)) state.kinds.add(kind);
    target.setAttribute("aria-pressed", state.kinds.has(kind));
    refresh();
  });
  find("search").addEventListener("input", ({ target }) => {
    state.words = target.value;
    refresh();
  });
  find("reset").addEventListener("click", () => {
    narrow("", standard());
    find("search").focus();
  });
  find("rows").addEventListener("click", ({ target }) => {
    const line = target.closest("tr");
    if (line && !String(getSelection())) choose(state.byPlace.get(Number(line.dataset.place)));
  });
  const turns = {
    "page-first": () => 0,
    "page-previous": () => state.page - 1,
    "page-next": () => state.page + 1,
    "page-last": () => Infinity,
  };
  for (const [id, to] of Object.entries(turns)) {
    find(id).addEventListener("click", () => {
      turn(to());
      if (find(id).disabled)
        find(id === "page-first" || id === "page-previous" ? "page-next" : "page-previous").focus();
    });
  }

  return {
    show(checkpoint) {
      Object.assign(state, {
        groups: checkpoint.groups,
        byPlace: new Map(checkpoint.groups.map((group) => [group.place, group])),
        chosen: null,
      });
      Object.assign(state, { words: "", kinds: standard(), sort: "relative", down: true });
      scales.relative = relativeScale(checkpoint.changes);
      find("search").value = "";
      if (checkpoint.changes.every(({ relative }) => relative === null))
        Object.assign(state, { sort: "name", down: false });
      showHeads();
      showKinds();
      refresh();
    },
    mark(group) {
      state.chosen = group;
      for (const line of find("rows").children) {
        if (group && Number(line.dataset.place) === group.place) line.setAttribute("aria-current", "true");
        else line.removeAttribute("aria-current");
      }
    },
    narrow,
    focusChosen() {
      const button = state.chosen && find("rows").querySelector(`button[data-place="${state.chosen.place}"]`);
      (button ?? find("changes")).focus();
    },
  };
}

/** Numbers, NaN as the largest. */
function compare(a, b) {
  const [one, two] = [a, b].map((value) => (Number.isNaN(value) ? Infinity : value));
  return one === two ? 0 : one < two ? -1 : 1;
}

/** Lengths of the bars: by orders of magnitude, since changes differ by those. */
function relativeScale(groups) {
  const logs = groups
    .map(({ relative }) => relative)
    .filter((value) => value > 0 && Number.isFinite(value))
    .map(Math.log10);
  const [low, high] = logs.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  const span = Math.max(high - low, 1);
  return (value) => (Number.isFinite(value) ? Math.max(0.04, 1 - (high - Math.log10(value)) / (1.15 * span)) : 1);
}

/** What a search finds: each word is in a group's names, kind, dtype, shape or update; * stands for anything. */
function matcher({ kinds, words }) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean).map(wordMatcher);
  return (group) => {
    if (!kinds.has(group.kind)) return false;
    if (wanted.length === 0) return true;
    group.text ??= [group.name, group.before?.name ?? "", WORDS[group.kind][1], form(group), group.update ?? ""]
      .join("\n")
      .toLowerCase();
    return wanted.every((matches) => matches(group.text));
  };
}

function wordMatcher(word) {
  if (!word.includes("*")) return (text) => text.includes(word);
  const pieces = word.split("*").filter(Boolean);
  return (text) =>
    text.split("\n").some((line) => pieces.reduce((at, piece) => (at < 0 ? at : after(line, piece, at)), 0) >= 0);
}

/** Where a piece of text that is looked for from a place ends; -1 if it is not there. */
function after(line, piece, from) {
  const at = line.indexOf(piece, from);
  return at < 0 ? -1 : at + piece.length;
}
