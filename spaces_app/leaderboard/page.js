// The address is the only state: what a user does changes it, and the view of the address is fetched and shown.
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const main = () => byId("emms");
  const PAUSE = 120; // milliseconds after a letter, before the view is asked for
  let request = null; // an AbortController, while a view is on its way
  let typing = null; // the field in which the last step of the history is being typed

  // What only filters and orders rows. The browser does it with the rows that it has; all else is fetched.
  const FILTERS = ["q", "max", "library", "license", "language", "trained"];
  const FIELDS = [...FILTERS, "tab", "task", "ranking", "checkpoint", "columns", "sort", "rows", "cost", "compare"];
  const LOCAL = [...FILTERS, "sort", "rows", "cost"];
  const isStatic = main().hasAttribute("data-static"); // a page without a server: a view is a file
  const rest = (query) => `${new URLSearchParams([...query].filter(([name]) => !LOCAL.includes(name)))}`;
  const address = () => {
    const query = new URLSearchParams(location.search);
    for (const name of [...query.keys()]) if (!FIELDS.includes(name)) query.delete(name);
    return query.size ? query : new URLSearchParams("tab=home"); // the page of an address that names nothing
  };
  let drawn = rest(address()); // the address of the rows on the page

  // The same names as in static.py.
  async function fileOf(query) {
    const of = (name) => query?.get(name) ?? "", tab = of("tab") || "rankings";
    let key = [tab, of("ranking") || of("task")];
    if (!query) key = ["missing"];
    else if (of("checkpoint")) key = ["checkpoint", of("checkpoint")];
    else if (tab === "across") key = [tab, of("task")];
    else if (["home", "about"].includes(tab)) key = [tab, ""];
    return fileNamed(key);
  }

  async function fileNamed(key) {
    const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key.join("\n")));
    const name = [...new Uint8Array(bytes).slice(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return `views/${name}.html.gz`;
  }

  // Some hosts unpack a file on its way, others send it as it is.
  function unpacked(content) {
    const isPacked = new Uint8Array(content, 0, 2).every((byte, place) => byte === [0x1f, 0x8b][place]);
    const plain = new Blob([content]).stream();
    return new Response(isPacked ? plain.pipeThrough(new DecompressionStream("gzip")) : plain).text();
  }

  // Main and the title of the view of the address.
  async function fetchView(signal) {
    let answer = await fetch(isStatic ? await fileOf(address()) : `view${location.search}`, { signal });
    if (isStatic && answer.status === 404) answer = await fetch(await fileOf(null), { signal });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const text = isStatic ? await unpacked(await answer.arrayBuffer()) : await answer.text();
    const page = new DOMParser().parseFromString(text, "text/html");
    return { title: page.title, main: page.querySelector("main") };
  }

  async function load({ pause = 0, then = () => {} } = {}) {
    request?.abort(); // the newest wins
    request = null;
    const here = rest(address());
    // An address need not name the task of its ranking; links of the page do.
    const isDrawn = drawn !== null && [drawn, rest(new URLSearchParams(main().dataset.query))].includes(here);
    if (isDrawn && main().querySelector("[data-values]")) {
      main().removeAttribute("aria-busy");
      arrange(main());
      said();
      return then();
    }
    const { signal } = request = new AbortController();
    main().setAttribute("aria-busy", "true");
    try {
      if (pause) await new Promise((done) => setTimeout(done, pause));
      signal.throwIfAborted();
      const view = await fetchView(signal);
      signal.throwIfAborted();
      show(view);
      drawn = here;
      then();
    } catch (error) {
      if (!signal.aborted) fail(error);
    }
    if (!signal.aborted) request = null;
  }

  // Filters and orders the rows of a view, as the server does for the address.
  function arrange(shown) {
    const data = shown.querySelector("[data-values]"), query = address();
    for (const field of shown.querySelector("#emms-form")?.elements ?? []) {
      const values = query.getAll(field.name), value = values.at(-1)?.trim() ?? "";
      if (!FILTERS.includes(field.name)) continue;
      if (field.type === "checkbox") field.checked = values.includes(field.value);
      else if (field.value.trim() !== value) field.value = [...field.options ?? [{ value }]].some((one) => one.value === value) ? value : "";
    }
    for (const link of shown.querySelectorAll("a[data-kind]")) link.href = `export?${query}&kind=${link.dataset.kind}`;
    if (!data) return;
    const table = shown.querySelector("table.board"), values = JSON.parse(data.dataset.values), order = orderOf(values, query);
    const column = order.replace(/^-/, ""), keys = values.orders[column], down = order.startsWith("-");
    const body = table.tBodies[0], rows = [];
    for (const row of body.rows) rows[row.dataset.row] = row;
    const places = [...rows.keys()].sort((one, other) => {
      const [a, b] = [keys[one], keys[other]];
      if (a === null || b === null) return (a === null) - (b === null) || one - other;
      return (down ? b - a : a - b) || one - other;
    });
    if (places.some((place, index) => body.rows[index] !== rows[place])) body.append(...places.map((place) => rows[place]));
    const passing = places.filter(passes(values, query, (place) => rows[place].querySelector(".name").textContent));
    const most = values.texts ? Infinity : Number(query.get("rows")) || 200, visible = new Set(passing.slice(0, most));
    let above;
    for (const place of places) {
      const row = rows[place], group = values.bands[place], isBand = order === "rank" && above !== undefined && group !== above;
      row.hidden = !visible.has(place);
      row.classList.toggle("band", isBand && !row.hidden && !row.classList.contains("failed"));
      if (!row.hidden) above = group ?? above;
    }
    for (const head of table.tHead.querySelectorAll("th[data-column]")) {
      const isHere = head.dataset.column === column;
      head.toggleAttribute("aria-sort", isHere);
      if (isHere) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    }
    const unknown = order === "rank" ? 0 : passing.filter((place) => keys[place] === null).length;
    const isFiltered = FILTERS.some((name) => allowed(values, query, name).length);
    fill(shown, {
      empty: !passing.length, passing: passing.length, unknown,
      more: passing.length > most,
    });
    if (values.texts) nameCheckpoints(shown, values, query);
    answerFor(shown, values, query, passing, isFiltered);
  }

  const orderOf = (values, query) => {
    const order = query.get("sort")?.trim() ?? "";
    return order.replace(/^-/, "") in values.orders ? order : "rank";
  };

  const wordsOf = (search) => (search ?? "").toLowerCase().split("|").map((part) => part.split(/\s+/).filter(Boolean)).filter((part) => part.length);

  // The home page lists the checkpoints that a search names, as home.py does.
  function nameCheckpoints(shown, values, query) {
    const parts = wordsOf(query.get("q"));
    const names = Object.keys(values.checkpoints).filter((name) => parts.some((part) => part.every((word) => name.toLowerCase().includes(word))));
    const order = (one, other) => one.length - other.length || (one < other ? -1 : 1);
    const links = names.sort(order).slice(0, 5).flatMap((name) => {
      const link = document.createElement("a");
      link.href = `?checkpoint=${encodeURIComponent(name)}`;
      link.textContent = name;
      return [link, " "];
    });
    shown.querySelector("#emms-named").replaceChildren(...links);
    fill(shown, { named: links.length > 0 });
  }

  // The values of a filter, without those that mean nothing.
  function allowed(values, query, name) {
    const some = query.getAll(name).map((text) => text.trim()).filter(Boolean);
    return some.filter((text) => ({ max: text in values.sizes, trained: text === "unseen" })[name] ?? true);
  }

  // What is not known of a checkpoint passes no filter on it.
  function passes(values, query, nameOf) {
    const of = (name) => allowed(values, query, name);
    const parts = wordsOf(of("q").at(-1));
    const most = values.sizes[of("max").at(-1)];
    const lists = values.texts ? [] : ["library", "license", "language"].map((name) => [values[name], of(name)]);
    const datasets = new Map(); // word → places of the datasets that ranked such a checkpoint
    for (const word of values.texts ? parts.flat() : []) {
      datasets.set(word, new Set(Object.entries(values.checkpoints).flatMap(([name, places]) => name.toLowerCase().includes(word) ? places : [])));
    }
    const has = (place, name, word) => values.texts
      ? values.texts[place].includes(word) || datasets.get(word).has(place) : name.includes(word);
    const isUnseen = of("trained").length > 0 && values.answers;
    return (place) => {
      const size = values.parameters[place] ?? NaN, name = parts.length ? nameOf(place).toLowerCase() : "";
      if ((most && !(size <= most)) || (isUnseen && values.seen[place])) return false;
      if (parts.length && !parts.some((part) => part.every((word) => has(place, name, word)))) return false;
      return lists.every(([facts, some]) => !some.length || some.some((value) => facts[place].includes(value)));
    };
  }

  // The answer and the plot follow the filters: the server makes both; a page without one has an answer per checkpoint.
  let asked = null;
  async function answerFor(shown, values, query, passing, isFiltered) {
    const here = `${new URLSearchParams(["cost", ...FILTERS].flatMap((name) => query.getAll(name).filter(Boolean).map((value) => [name, value])))}`;
    const plot = shown.querySelector("#emms-plot"), before = shown.dataset.answered ?? values.answered;
    if (!plot || here === before) return;
    shown.dataset.answered = here;
    asked?.abort();
    const { signal } = asked = new AbortController();
    const answer = document.createElement("div");
    try {
      if (isStatic) {
        const key = ["plot", new URLSearchParams(shown.dataset.query).get("ranking"), query.get("cost") || "parameters"];
        const found = values.answers.find(([place]) => passing.includes(place));
        const file = await fetch(await fileNamed(key), { signal });
        answer.innerHTML = (isFiltered ? found?.[1] ?? "" : values.whole) + (file.ok ? await unpacked(await file.arrayBuffer()) : "");
      } else {
        answer.innerHTML = await (await fetch(`answer?${query}`, { signal })).text();
      }
    } catch { return; }
    const drawn = answer.querySelector("#emms-plot"), verdict = answer.querySelector(".verdict");
    const isOpen = shown.querySelector("#emms-answer details")?.open;
    if (isOpen) verdict?.querySelector("details")?.setAttribute("open", "");
    shown.querySelector("#emms-answer").replaceChildren(...verdict ? [verdict] : []);
    if (drawn) shown.querySelector("#emms-plot")?.replaceWith(drawn);
    const visible = new Set(passing);
    for (const point of drawn?.querySelectorAll("[data-point], [data-name]") ?? []) {
      if (!visible.has(Number(point.dataset.point ?? point.dataset.name))) point.remove();
    }
    fill(shown, { passing: passing.length });
    mark(shown);
  }

  // Marks the checkpoint to fine-tune in the table and in the plot.
  function mark(shown) {
    const place = shown.querySelector("[data-pick]")?.dataset.pick;
    for (const one of shown.querySelectorAll("[data-row], [data-point]")) {
      one.classList.toggle("pick", (one.dataset.row ?? one.dataset.point) === place);
    }
  }

  // Fills the slots of templates, and shows the parts that apply.
  function fill(shown, values) {
    for (const slot of shown.querySelectorAll("[data-slot]")) {
      const value = values[slot.dataset.slot];
      if (value !== undefined) slot.replaceChildren(typeof value === "number" ? value.toLocaleString("en") : value ?? "");
    }
    for (const part of shown.querySelectorAll("[data-if]")) {
      if (part.dataset.if in values) part.hidden = !values[part.dataset.if];
    }
  }

  // The field that has the focus and opened filters stay.
  function show(view) {
    const focused = document.activeElement?.id;
    if (byId("emms-filters")?.open) view.main.querySelector("#emms-filters")?.setAttribute("open", "");
    arrange(view.main);
    main().replaceWith(view.main);
    if (focused) byId(focused)?.focus({ preventScroll: true });
    document.title = view.title;
    said();
    afterwards();
  }

  // Unlike innerText, it needs no layout.
  const visible = (node) => node.hidden ? "" : node.nodeType === Node.TEXT_NODE ? node.nodeValue : [...node.childNodes].map(visible).join("");

  // What a screen reader says of a change: the view, its order and how many rows a search leaves.
  function said() {
    const head = main().querySelector("th[aria-sort]"), count = byId("emms-count");
    const order = head && `sorted by ${head.textContent}, ${head.getAttribute("aria-sort")}`;
    byId("emms-said").textContent = [document.title, count && visible(count).trim(), order].filter(Boolean).join(". ");
  }

  function fail(error) {
    const content = byId("emms-view");
    main().removeAttribute("aria-busy");
    main().dataset.query = "";
    drawn = null;
    byId("emms-answer").replaceChildren();
    content.innerHTML = '<p class="empty" role="alert"><span></span> <a>Try again</a></p>';
    content.querySelector("span").textContent = `This view could not be loaded (${error.message}).`;
    content.querySelector("a").href = location.search || "?";
    document.title = "Not loaded · EMMS leaderboard";
  }

  // The history, and the frame of huggingface.co around a Space, whose address follows.
  function go(query, { replace = false, ...how } = {}) {
    for (const [name, value] of new URLSearchParams(location.search)) {
      if (!FIELDS.includes(name)) query.append(name, value); // of others, such as __theme
    }
    const address = `${location.pathname}${query.size ? `?${query}` : ""}`;
    const same = address === location.pathname + location.search;
    if (!same && !replace) history.replaceState({ top: scrollY }, "");
    history[replace || same ? "replaceState" : "pushState"](null, "", address);
    if (window.parent !== window) window.parent.postMessage({ queryString: `${query}` }, "https://huggingface.co");
    return load(how);
  }

  // A link says what it changes of the view for which it was drawn; the address may have other filters by now.
  function destination(link) {
    const target = new URLSearchParams(link.dataset.drawn ?? link.getAttribute("href"));
    const before = new URLSearchParams(main().dataset.query), head = link.closest("th[data-column]"), asked = address();
    const query = request || !before.size ? asked : new URLSearchParams(before);
    for (const name of query === asked ? [] : LOCAL) {
      query.delete(name);
      asked.getAll(name).forEach((value) => query.append(name, value));
    }
    if (link.hasAttribute("data-clear")) FILTERS.forEach((name) => query.delete(name));
    else if (head) {
      const values = JSON.parse(main().querySelector("[data-values]")?.dataset.values ?? "null"), { first } = head.dataset;
      if (!values) return target;
      const flipped = first.startsWith("-") ? first.slice(1) : `-${first}`;
      query.set("sort", orderOf(values, query) === first ? flipped : first);
      if (query.get("sort") === "rank") query.delete("sort");
    } else {
      for (const name of new Set([...target.keys(), ...before.keys()])) {
        const [old, fresh] = [before.getAll(name), target.getAll(name)];
        if (`${old}` === `${fresh}`) continue;
        query.delete(name);
        fresh.forEach((value) => query.append(name, value));
      }
      // The home page searches datasets, all others checkpoints.
      if ([target, before].some((view) => view.get("tab") === "home") && !target.has("q")) query.delete("q");
    }
    return query;
  }

  const PLACES = ["tab", "ranking", "checkpoint"]; // other ones are other things, which begin at their top
  function follow(link) {
    const before = new URLSearchParams(main().dataset.query), query = destination(link);
    if (link.closest("[role=alert]")) drawn = null; // asks again
    const elsewhere = PLACES.some((name) => `${before.getAll(name)}` !== `${query.getAll(name)}`);
    typing = null;
    go(query, {
      then: () => {
        if (!elsewhere) return;
        scrollTo(0, 0);
        if (!link.closest("nav")) byId("emms-view").focus({ preventScroll: true });
      },
    });
  }

  const OF_ANOTHER = { task: ["ranking", "q", "rows", "compare"], ranking: ["task", "rows"] };
  function change(control) {
    const { name, value } = control, query = address();
    let values = [value].filter(Boolean);
    if (control.type === "checkbox") values = [...query.getAll(name).filter((one) => one !== value), ...control.checked ? [value] : []];
    for (const other of [name, ...(OF_ANOTHER[name] ?? ["rows"])]) query.delete(other);
    values.forEach((value) => query.append(name, value));
    const typed = control.type === "search";
    go(query, { replace: typed && typing === name, pause: typed ? PAUSE : 0 });
    typing = typed ? name : null; // every letter of a search is not a step to go back to
  }

  for (const name of ["input", "change"]) {
    document.addEventListener(name, ({ target }) => {
      if (target.form?.id === "emms-form" && (target.type === "search") === (name === "input")) change(target);
    });
  }
  document.addEventListener("submit", (event) => {
    if (event.target.id === "emms-form") event.preventDefault();
  });
  window.addEventListener("popstate", ({ state }) => {
    typing = null;
    load({ then: () => scrollTo(0, state?.top ?? 0) });
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="?"]');
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    follow(link);
  });

  // What the browser opens itself, as for a Ctrl-click, has the filters of the address.
  for (const name of ["pointerdown", "focusin"]) {
    document.addEventListener(name, ({ target }) => {
      const link = target.closest?.('a[href^="?"]');
      if (!link) return;
      link.dataset.drawn ??= link.getAttribute("href");
      link.setAttribute("href", `?${destination(link)}`);
    });
  }

  // Buttons.
  async function copy(button) {
    let done = "Copied";
    try {
      await navigator.clipboard.writeText(button.parentNode.querySelector("code").textContent);
    } catch {
      done = "The browser forbids copying";
    }
    const before = button.textContent;
    button.textContent = byId("emms-said").textContent = done;
    setTimeout(() => { button.textContent = before; }, 1500);
  }

  document.addEventListener("click", ({ target }) => {
    if (target.matches?.("[data-copy]")) copy(target);
    if (target.id === "emms-theme") {
      const dark = getComputedStyle(root).colorScheme === "dark" || (!root.dataset.theme && DARK.matches);
      root.dataset.theme = dark ? "light" : "dark";
      try { localStorage.setItem("emms-theme", root.dataset.theme); } catch { /* forbidden in some frames */ }
    }
  });
  const DARK = matchMedia("(prefers-color-scheme: dark)");

  // A table that fits the window scrolls with the page, under a header that stays at the window's top.
  function afterwards() {
    for (const box of document.querySelectorAll(".sideways")) {
      box.classList.toggle("fits", box.firstElementChild.offsetWidth <= box.clientWidth);
    }
  }
  window.addEventListener("resize", afterwards);
  afterwards();

  if (isStatic && location.search) { // what came with the page is the first view
    drawn = null;
    load();
  }
})();
