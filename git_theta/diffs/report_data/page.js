// What is shown when the page opens, and what follows from a choice.

function summarize(checkpoint) {
  const { summary, changes } = checkpoint;
  const kinds = Object.keys(WORDS)
    .map((kind) => [WORDS[kind][1], changes.filter((group) => group.kind === kind).length])
    .filter(([, many]) => many > 0)
    .map(([word, many]) => `${many.toLocaleString("en")} ${word}`);
  const most = largestOf(changes, METRICS.relative);
  return [
    tile(
      "Groups changed",
      summary.groups_changed.toLocaleString("en"),
      `of ${summary.groups.toLocaleString("en")}`,
      share(summary.groups_changed, summary.groups),
      kinds.join(", "),
    ),
    tile(
      "Bytes in changed groups",
      bytes(summary.bytes_changed),
      `of ${bytes(summary.bytes)}`,
      share(summary.bytes_changed, summary.bytes),
      sizes(checkpoint),
    ),
    keptTile(checkpoint),
    tile(
      "Largest relative change",
      most ? about(most, percent(most.relative)) : NONE,
      "",
      null,
      most
        ? make("span", { className: "name" }, most.shown)
        : changes.length
          ? "no group was measured"
          : "nothing changed",
    ),
  ];
}

function keptTile({ summary, changes }) {
  const isKept = summary.kept_bytes > 0 || changes.some(({ update }) => update !== null);
  if (!isKept && changes.some(({ after }) => after))
    return tile("Added to the store", NONE, "", null, "not added to a repository");
  const part = summary.bytes_changed
    ? `${percent(summary.kept_bytes / summary.bytes_changed, 2)} of the changed groups' bytes`
    : "";
  return tile("Added to the store", bytes(summary.kept_bytes), "", null, part);
}

function share(part, whole) {
  return whole ? part / whole : 0;
}

function sizes({ old, new: now }) {
  if (!old) return `a new file of ${bytes(now.size)}`;
  if (!now) return `the file of ${bytes(old.size)} is gone`;
  const more = now.size - old.size;
  const moved = more ? `${bytes(Math.abs(more))} ${more > 0 ? "more" : "less"}` : "as before";
  return `the file has ${bytes(now.size)}, ${moved}`;
}

function tile(term, main, rest, part, under) {
  const meter = part === null ? null : make("div", { className: "meter", aria: { hidden: "true" } }, make("i"));
  meter?.firstChild.style.setProperty("--share", `${100 * part}%`);
  const value = make(
    "dd",
    {},
    main,
    rest ? make("small", {}, ` ${rest}`) : null,
    meter,
    under ? make("div", { className: "under" }, under) : null,
  );
  return make("div", { className: "tile" }, make("dt", {}, term), value);
}

function subtitle({ old, new: now, old_path, new_path }) {
  const parts = [];
  if (old && now && old_path !== new_path) parts.push(`was ${visible(old_path)}`);
  if (old && now && old.format !== now.format) parts.push(`${old.format} → ${now.format}`);
  else parts.push((now ?? old).format);
  parts.push(count((now ?? old).groups, "group"), bytes((now ?? old).size));
  if (!old) parts.unshift("added");
  if (!now) parts.unshift("removed");
  return parts.join(" · ");
}

function accuracy({ changes }) {
  const estimated = changes.filter(({ exact }) => exact === false).length;
  const unknown = changes.filter(({ exact, kind }) => exact === null && kind === "modified").length;
  const parts = [];
  if (estimated)
    parts.push(
      `${count(estimated, "group")} estimated from signatures (≈): their values are not here, or too many to read.`,
    );
  if (unknown) parts.push(`${count(unknown, "modified group")} could not be measured.`);
  return parts.join(" ");
}

function facts(group) {
  const figures = [
    ["Relative change", about(group, percent(group.relative, 4))],
    ["Values changed", portion(group.changed, 4)],
    ["Largest change of a value", figure(group.largest, 4)],
    ["Cosine", about(group, cosine(group.cosine))],
  ];
  const { before, after } = group;
  const sameForm = before && after && form({ before, after: null }) === form({ before: null, after });
  const forms = sameForm
    ? [
        ["Dtype", after.dtype],
        ["Shape", shape(after.shape)],
        ["Bytes", bytes(after.nbytes)],
      ]
    : [
        ...(before ? [["Before", `${form({ before, after: null })}, ${bytes(before.nbytes)}`]] : []),
        ...(after ? [["After", `${form({ before: null, after })}, ${bytes(after.nbytes)}`]] : []),
      ];
  const renamed = before && after && before.name !== after.name ? [["Name before", visible(before.name)]] : [];
  const stored = [
    ["Kept as", group.update],
    ["Added to the store", group.kept === null ? null : bytes(group.kept)],
  ].filter(([, text]) => text !== null);
  return [
    ...renamed,
    ...(group.exact === null ? [] : figures),
    ...forms,
    ...(group.kind === "unchanged" ? [] : stored),
  ];
}

function whyNoHistogram(group) {
  if (group.kind === "unchanged") return "The values are as they were.";
  if (group.kind === "renamed") return "The values are as they were; the group has another name.";
  return "No histogram: only groups that changed most have one, if their values are numbers and are here.";
}

function start() {
  const checkpoints = unpack(JSON.parse(find("data").textContent));
  const state = { checkpoint: null };
  const histogram = makeHistogram();
  const table = makeTable((group) => choose(group, true));
  const map = makeMap((group) => choose(group, false), table.narrow);

  function choose(group, go) {
    table.mark(group);
    map.mark(group);
    find("group-kind").textContent = group ? `Group · ${WORDS[group.kind][1]}` : "Group";
    find("group-title").textContent = group ? group.shown : "No group chosen";
    find("group-hint").hidden = Boolean(group);
    find("group-body").hidden = !group;
    if (!group) return;
    find("facts").replaceChildren(
      ...facts(group).flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, text)]),
    );
    histogram.show(group);
    find("no-histogram").hidden = Boolean(group.histogram);
    find("no-histogram").textContent = group.histogram ? "" : whyNoHistogram(group);
    // On a narrow page the group is not beside the table: go there, and offer the way back.
    if (go && getComputedStyle(find("back")).display !== "none") find("group-title").focus();
  }

  function open(checkpoint) {
    state.checkpoint = checkpoint;
    find("title").textContent = document.title = checkpoint.title;
    find("subtitle").textContent = subtitle(checkpoint);
    find("tiles").replaceChildren(...summarize(checkpoint));
    find("accuracy").textContent = accuracy(checkpoint);
    find("accuracy").hidden = !accuracy(checkpoint);
    find("values").hidden = checkpoint.values.length === 0;
    find("value-rows").replaceChildren(...checkpoint.values.map(valueRow));
    for (const line of find("checkpoint-rows").children) {
      if (Number(line.dataset.index) === checkpoints.indexOf(checkpoint)) line.setAttribute("aria-current", "true");
      else line.removeAttribute("aria-current");
    }
    const first = largestOf(checkpoint.changes, METRICS.relative) ?? checkpoint.changes[0] ?? null;
    map.show(checkpoint, first);
    table.show(checkpoint);
    choose(first, false);
  }

  find("back").addEventListener("click", () => table.focusChosen());
  find("checkpoints").hidden = checkpoints.length < 2;
  find("checkpoint-rows").replaceChildren(...checkpoints.map(checkpointRow));
  find("checkpoint-rows").addEventListener("click", ({ target }) => {
    const line = target.closest("tr");
    if (line) open(checkpoints[Number(line.dataset.index)]);
  });
  if (checkpoints.length) open(checkpoints[0]);
  else nothing();
  watchTheme(() => {
    map.restyle();
    histogram.restyle();
  });
}

function nothing() {
  find("title").textContent = "Nothing changed";
  find("subtitle").textContent = "No checkpoint differs between the two versions.";
  for (const id of ["summary", "map", "group", "changes"]) find(id).hidden = true;
}

function valueRow({ name, old, new: now }) {
  const cell = (text) => make("td", {}, text === null ? NONE : make("bdi", {}, visible(text)));
  return make(
    "tr",
    {},
    make("th", { scope: "row", className: "name" }, make("bdi", {}, visible(name))),
    cell(old),
    cell(now),
  );
}

function checkpointRow(checkpoint, index) {
  const { summary, changes, title } = checkpoint;
  const most = largestOf(changes, METRICS.relative);
  return make(
    "tr",
    { data: { index } },
    make("th", { scope: "row" }, make("button", { type: "button", className: "pick" }, make("bdi", {}, title))),
    make(
      "td",
      { className: "number" },
      `${summary.groups_changed.toLocaleString("en")} of ${summary.groups.toLocaleString("en")}`,
    ),
    make("td", { className: "number wide" }, `${bytes(summary.bytes_changed)} of ${bytes(summary.bytes)}`),
    make("td", { className: "number wide" }, most ? about(most, percent(most.relative)) : NONE),
  );
}

start();
