// The address is the only state: what a user does changes it, and the view of the address is fetched and shown.
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const main = () => byId("emms");
  const TYPED = ["search", "text"];
  const PAUSE = 120; // milliseconds after a letter, before the view is asked for
  let request = null; // an AbortController, while a view is on its way
  let typing = null; // the field in which the last step of the history is being typed

  // What only filters and orders rows. The browser does it with the rows that it has; all else is fetched.
  const FILTERS = ["q", "min", "max", "library", "license", "language", "trained"];
  const LOCAL = [...FILTERS, "sort", "order", "rows"];
  const isStatic = main().hasAttribute("data-static"); // a page without a server: a view is a file
  const rest = (query) => `${new URLSearchParams([...query].filter(([name]) => !LOCAL.includes(name)))}`;
  const address = () => {
    const query = new URLSearchParams(location.search);
    for (const name of [...query.keys()]) if (name.startsWith("__")) query.delete(name);
    return query.size ? query : new URLSearchParams("tab=home"); // the page of an address that names nothing
  };
  let drawn = rest(address()); // the address of the rows on the page

  // The same names as in static.py.
  async function fileOf(query) {
    const of = (name) => query?.get(name) ?? "", tab = of("tab") || "rankings";
    let key = [tab, of("ranking") || of("task"), tab === "cost" ? of("cost") || "parameters" : ""];
    if (!query || of("with")) key = ["missing"];
    else if (of("checkpoint")) key = ["checkpoint", of("checkpoint")];
    else if (tab === "across") key = [tab, of("scope") === "all" ? "" : of("task"), of("scope") || "task"];
    else if (["home", "about"].includes(tab)) key = [tab, "", ""];
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
      const row = rows[place], group = values.bands[place], isBand = order === values.usual && above !== undefined && group !== above;
      row.hidden = !visible.has(place);
      row.classList.toggle("band", isBand && !row.hidden && !row.classList.contains("failed"));
      if (!row.hidden) above = group ?? above;
    }
    for (const head of table.tHead.querySelectorAll("th[data-column]")) {
      const isHere = head.dataset.column === column;
      head.toggleAttribute("aria-sort", isHere);
      if (isHere) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    }
    const unknown = order === values.usual ? 0 : passing.filter((place) => keys[place] === null).length;
    const isFiltered = FILTERS.some((name) => allowed(values, query, name).length);
    fill(shown, {
      all: !isFiltered, filtered: isFiltered, empty: !passing.length, passing: passing.length, unknown,
      more: passing.length > most, ...answerOf(values, isFiltered ? passing : [], rows),
    });
  }

  const orderOf = (values, query) => {
    const order = query.get(values.field)?.trim() ?? "";
    return order.replace(/^-/, "") in values.orders ? order : values.usual;
  };

  // The values of a filter, without those that mean nothing.
  function allowed(values, query, name) {
    const some = query.getAll(name).map((text) => text.trim()).filter(Boolean);
    return some.filter((text) => ({ min: text in values.sizes, max: text in values.sizes, trained: text === "unseen" })[name] ?? true);
  }

  // What is not known of a checkpoint passes no filter on it.
  function passes(values, query, nameOf) {
    const of = (name) => allowed(values, query, name);
    const parts = (of("q").at(-1) ?? "").toLowerCase().split("|").map((part) => part.split(/\s+/).filter(Boolean)).filter((part) => part.length);
    const [[least], [most]] = ["min", "max"].map((name) => of(name).map((size) => values.sizes[size]));
    const lists = values.texts ? [] : ["library", "license", "language"].map((name) => [values[name], of(name)]);
    const datasets = new Map(); // word → places of the datasets that ranked such a checkpoint
    for (const word of values.texts ? parts.flat() : []) {
      datasets.set(word, new Set(Object.entries(values.checkpoints).flatMap(([name, places]) => name.includes(word) ? places : [])));
    }
    const has = (place, name, word) => values.texts
      ? values.texts[place].includes(word) || datasets.get(word).has(place) : name.includes(word);
    const isUnseen = of("trained").length > 0 && values.field === "sort";
    return (place) => {
      const size = values.parameters[place] ?? NaN, name = parts.length ? nameOf(place).toLowerCase() : "";
      if ((least && !(size >= least)) || (most && !(size <= most)) || (isUnseen && values.seen[place])) return false;
      if (parts.length && !parts.some((part) => part.every((word) => has(place, name, word)))) return false;
      return lists.every(([facts, some]) => !some.length || some.some((value) => facts[place].includes(value)));
    };
  }

  // The checkpoint to fine-tune, as verdict.pick of hf_emms names it.
  function answerOf(values, passing, rows) {
    if (!values.preferred) return {};
    const preferred = passing.filter((place) => values.preferred[place] !== null);
    preferred.sort((one, other) => values.preferred[one] - values.preferred[other]);
    const measured = preferred.filter((place) => values.measured[place]), [first] = preferred;
    const deciding = measured.length ? measured : preferred.slice(0, 1);
    if (!deciding.some((place) => values.convincing[place])) return { pick: null, none: true, tied: 0 };
    const tied = preferred.filter((place) => values.ranks[place] === values.ranks[first]).length - 1;
    const pick = rows[first].querySelector(".name").closest("a").cloneNode(true);
    return { pick, none: false, said: values.said[first], tied: values.measured[first] ? 0 : tied };
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

  const tabOf = (shown) => shown.querySelector("nav [aria-current]")?.textContent;
  function show(view) {
    if (tabOf(main()) !== tabOf(view.main)) { // what was opened there says nothing about what is here
      for (const details of main().querySelectorAll("#emms-view details[open]")) details.open = false;
    }
    arrange(view.main);
    patch(main(), view.main);
    document.title = view.title;
    said();
    if (main().dataset.version === byId("emms-news").dataset.version) byId("emms-news").hidden = true;
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

  // Makes `old` like `fresh` with as few changes as needed: focus, typed text and scrolling stay where they are.
  function patch(old, fresh) {
    if (old.nodeName !== fresh.nodeName || (old.id || "") !== (fresh.id || "")) {
      old.replaceWith(fresh);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    const { checked, value } = fresh;
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(old.nodeName === "DETAILS" && name === "open")) old.removeAttribute(name);
    }
    for (const { name, value: text } of fresh.attributes) if (old.getAttribute(name) !== text) old.setAttribute(name, text);
    const rest = [...fresh.childNodes];
    for (const child of [...old.childNodes]) rest.length ? patch(child, rest.shift()) : child.remove();
    old.append(...rest);
    if (old.nodeName === "SELECT") old.value = value;
    else if (old.nodeName === "INPUT" && old.type === "checkbox") old.checked = checked;
    else if (old.nodeName === "INPUT" && TYPED.includes(old.type) && old.value.trim() !== value) old.value = value;
  }

  // The history, and the frame of huggingface.co around a Space, whose address follows.
  function go(query, { replace = false, ...how } = {}) {
    for (const [name, value] of new URLSearchParams(location.search)) {
      if (name.startsWith("__")) query.append(name, value); // of the Hub and of Gradio, such as __theme
    }
    const address = `${location.pathname}${query.size ? `?${query}` : ""}`;
    const same = address === location.pathname + location.search;
    if (!same && !replace) history.replaceState({ top: scrollY, link: focused() }, "");
    history[replace || same ? "replaceState" : "pushState"](null, "", address);
    if (window.parent !== window) window.parent.postMessage({ queryString: `${query}` }, "https://huggingface.co");
    return load(how);
  }

  // The link that has the focus, by where it leads and which of several such links it is.
  const linksTo = (href) => [...document.querySelectorAll("a")].filter((link) => link.getAttribute("href") === href);
  function focused() {
    const href = document.activeElement?.getAttribute("href");
    return href ? [href, linksTo(href).indexOf(document.activeElement)] : null;
  }

  // A link says what it changes of the view for which it was drawn; the address may have other filters by now.
  function destination(link) {
    const target = new URLSearchParams(link.getAttribute("href"));
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
      query.set(values.field, orderOf(values, query) === first ? flipped : first);
      if (query.get(values.field) === values.usual) query.delete(values.field);
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

  const PLACES = ["tab", "ranking", "checkpoint", "with"]; // other ones are other things, which begin at their top
  function follow(link) {
    const before = new URLSearchParams(main().dataset.query), query = destination(link);
    if (link.closest("#emms-news, [role=alert]")) drawn = null; // asks again
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

  const OF_ANOTHER = { task: ["ranking", "q", "tick", "with", "rows"], ranking: ["task", "tick", "with", "rows"] };
  function change(control) {
    const { name, form } = control, query = address();
    const values = new FormData(form).getAll(name).filter(Boolean);
    for (const other of [name, ...(OF_ANOTHER[name] ?? ["rows"])]) query.delete(other);
    if (name === "columns") query.set(name, values.join(","));
    else values.forEach((value) => query.append(name, value));
    const typed = TYPED.includes(control.type);
    go(query, { replace: typed && typing === name, pause: typed ? PAUSE : 0 });
    typing = typed ? name : null; // every letter of a search is not a step to go back to
  }

  document.addEventListener("input", ({ target }) => {
    if (target.form?.id === "emms-form" && TYPED.includes(target.type)) change(target);
  });
  document.addEventListener("change", ({ target }) => {
    if (target.form?.id === "emms-form" && !TYPED.includes(target.type)) change(target);
  });
  document.addEventListener("submit", (event) => {
    if (event.target.id === "emms-form") event.preventDefault();
  });
  window.addEventListener("popstate", ({ state }) => {
    typing = null;
    load({
      then: () => {
        const [href, place] = state?.link ?? [];
        if (href) linksTo(href)[place]?.focus({ preventScroll: true });
        scrollTo(0, state?.top ?? 0);
      },
    });
  });

  // Other programs that open a link, and downloads, get the filters, too.
  document.addEventListener("pointerdown", ({ target }) => {
    const link = target.closest?.('a[href^="?"], a[data-kind]');
    if (link) link.href = link.dataset.kind ? `export?${address()}&kind=${link.dataset.kind}` : `?${destination(link)}`;
  });

  let tapped = null;
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="?"]');
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    const point = link.closest("svg.plot");
    if (point && event.pointerType === "touch" && tapped !== link) tapped = link; // the tap has shown what it is
    else follow(link);
  });

  // Buttons.
  async function copy(button, text) {
    let done = "Copied";
    try {
      await navigator.clipboard.writeText(await text());
    } catch {
      done = "The browser forbids copying";
    }
    const before = button.textContent;
    button.textContent = byId("emms-said").textContent = done;
    setTimeout(() => { button.textContent = before; }, 1500);
  }

  document.addEventListener("click", ({ target }) => {
    if (target.matches?.("[data-copy]")) copy(target, () => target.parentNode.querySelector("code").textContent);
    if (target.id === "emms-copy") {
      copy(target, async () => (await fetch(`export?${address()}&kind=tsv`)).text());
    }
    if (target.id === "emms-theme") {
      const dark = getComputedStyle(root).colorScheme === "dark" || (!root.dataset.theme && DARK.matches);
      root.dataset.theme = dark ? "light" : "dark";
      try { localStorage.setItem("emms-theme", root.dataset.theme); } catch { /* forbidden in some frames */ }
    }
  });
  const DARK = matchMedia("(prefers-color-scheme: dark)");

  // What a point of a chart is, under the pointer and with the keyboard's focus.
  const tip = byId("emms-tip");
  function point({ target }) {
    const link = target.closest?.("svg.plot a");
    tip.hidden = !link;
    if (!link) return;
    tip.textContent = link.getAttribute("aria-label");
    const box = link.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(box.left, innerWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${box.bottom + 6}px`;
  }
  for (const name of ["pointerover", "focusin"]) document.addEventListener(name, point);
  window.addEventListener("scroll", () => { tip.hidden = true; }, true);
  document.addEventListener("keydown", ({ key }) => { if (key === "Escape") tip.hidden = true; });

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

  const every = 1000 * main().dataset.every;
  if (every) setInterval(async () => {
    if (document.hidden || request) return;
    const version = await fetch("version").then((answer) => answer.ok && answer.text()).catch(() => null);
    const news = byId("emms-news");
    if (!version || request || version === main().dataset.version || version === news.dataset.version) return;
    news.dataset.version = version;
    news.innerHTML = "New results have arrived. <a>Show them</a>";
    news.firstElementChild.href = location.search || "?";
    news.hidden = false;
  }, every);
})();
