// The address is the only state: what a user does changes it, and the view of the address is fetched and shown.
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const main = () => byId("emms");
  const TYPED = ["search", "text"];
  const PAUSE = 120; // milliseconds after a letter, before the view is asked for
  let request = null; // an AbortController, while a view is on its way
  let typing = null; // the field in which the last step of the history is being typed

  // What is fetched: main, and the title. A page without a server has its own way (static.js).
  const fetchView = window.emmsView ?? (async (signal) => {
    const answer = await fetch(`view${location.search}`, { signal });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    return { title: page.title, main: page.querySelector("main") };
  });

  async function load({ pause = 0, then = () => {} } = {}) {
    request?.abort(); // the newest wins
    const { signal } = request = new AbortController();
    main().setAttribute("aria-busy", "true");
    try {
      if (pause) await new Promise((done) => setTimeout(done, pause));
      signal.throwIfAborted();
      const view = await fetchView(signal);
      signal.throwIfAborted();
      show(view);
      then();
    } catch (error) {
      if (!signal.aborted) fail(error);
    }
    if (!signal.aborted) request = null;
  }

  const tabOf = (shown) => shown.querySelector("nav [aria-current]")?.textContent;
  function show(view) {
    if (tabOf(main()) !== tabOf(view.main)) { // what was opened there says nothing about what is here
      for (const details of main().querySelectorAll("#emms-view details[open]")) details.open = false;
    }
    patch(main(), view.main);
    document.title = view.title;
    byId("emms-said").textContent = inWords(view.title);
    if (main().dataset.version === byId("emms-news").dataset.version) byId("emms-news").hidden = true;
    afterwards();
  }

  // What a screen reader says of a change: the view, its order and how many rows a search leaves.
  function inWords(title) {
    const head = main().querySelector("th[aria-sort]"), count = byId("emms-count");
    const order = head && `sorted by ${head.firstElementChild.firstChild.textContent}, ${head.getAttribute("aria-sort")}`;
    return [title, count?.textContent, order].filter(Boolean).join(". ");
  }

  function fail(error) {
    const content = byId("emms-view");
    main().removeAttribute("aria-busy");
    main().dataset.query = "";
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

  const address = () => {
    const query = new URLSearchParams(location.search);
    for (const name of [...query.keys()]) if (name.startsWith("__")) query.delete(name);
    return query.size ? query : new URLSearchParams("tab=home"); // the page of an address that names nothing
  };

  // A link of a view that the user has left already says what it changes, not where it leads.
  function destination(link) {
    const target = new URLSearchParams(link.getAttribute("href"));
    if (!request) return target;
    const query = address(), drawn = new URLSearchParams(main().dataset.query);
    for (const name of new Set([...target.keys(), ...drawn.keys()])) {
      const [before, after] = [drawn.getAll(name), target.getAll(name)];
      if (`${before}` === `${after}`) continue;
      query.delete(name);
      after.forEach((value) => query.append(name, value));
    }
    return query;
  }

  const PLACES = ["tab", "ranking", "checkpoint", "with"]; // other ones are other things, which begin at their top
  function follow(link) {
    const before = new URLSearchParams(main().dataset.query), query = destination(link);
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
      copy(target, async () => (await fetch(`export?${main().dataset.query}&kind=tsv`)).text());
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

  if (window.emmsView && location.search) load(); // what came with the page is the first view

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
