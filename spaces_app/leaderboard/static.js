// Shows the view of the address. The views were drawn beforehand; here rows are only ordered and filtered.
(() => {
  const byId = (id) => document.getElementById(id);
  const { rankings, orders, views } = JSON.parse(byId("emms-static-data").textContent);
  const normal = (query) => new URLSearchParams(query).toString();
  const known = Object.fromEntries(Object.entries(views).map(([query, view]) => [normal(query), view]));
  const main = byId("emms-first"), select = byId("emms-static-ranking"), search = byId("emms-static-q");
  const MISSING = '<p class="emms-view">This page has no such view: it was removed, or it needs the server.</p>';

  const theme = new URLSearchParams(location.search).get("__theme");
  if (theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches) main.classList.add("dark");

  function wanted() {
    const asked = new URLSearchParams(location.search);
    const of = (name) => asked.get(name) || "";
    const entry = rankings.find(({ id }) => id === of("ranking"))
      || (of("ranking") ? undefined : rankings.find(({ task }) => task === of("task")) || rankings[0]);
    return { of, entry, ranking: entry?.id || of("ranking"), task: entry?.task || of("task"), compares: asked.has("with") };
  }

  function key({ of, ranking, task, compares }) {
    const fields = new URLSearchParams();
    const put = (name, value) => { if (value) fields.append(name, value); };
    if (compares) return null;
    if (of("checkpoint")) put("checkpoint", of("checkpoint"));
    else if (of("tab") === "across") {
      put("tab", "across");
      put("task", of("scope") === "all" ? "" : task);
      put("order", of("order"));
      put("scope", of("scope"));
    } else {
      put("tab", of("tab"));
      put("ranking", ranking);
      put("cost", of("cost"));
    }
    return fields.toString();
  }

  function arrange(table, ranking, sort, q) {
    const body = table.tBodies[0], drawn = [...body.rows];
    const words = q.toLowerCase().split("|").map((part) => part.split(/\s+/).filter(Boolean)).filter((one) => one.length);
    for (const place of orders[ranking]?.[sort] || []) body.append(drawn[place]);
    let shown = 0;
    for (const row of drawn) {
      const name = (row.querySelector("[data-compare]")?.dataset.compare || row.querySelector(".name").textContent).toLowerCase();
      row.hidden = words.length > 0 && !words.some((one) => one.every((word) => name.includes(word)));
      shown += !row.hidden;
      if (sort !== "rank" || q) row.classList.remove("band");
    }
    const status = table.closest(".emms-view").querySelector("[role=status]");
    status.textContent = `${shown.toLocaleString("en")} of ${drawn.length.toLocaleString("en")} checkpoints`;
    const [column, down] = [sort.replace(/^-/, ""), sort.startsWith("-")];
    for (const link of table.tHead.querySelectorAll("a[data-view]")) {
      const query = new URLSearchParams(link.getAttribute("href"));
      const usual = query.get("sort") || "rank", head = link.closest("th");
      head.removeAttribute("aria-sort");
      link.querySelector("span")?.remove();
      if (column === "rank" ? usual === "-rank" : usual.replace(/^-/, "") === column) {
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        link.insertAdjacentHTML("beforeend", `<span aria-hidden="true">${down ? "▼" : "▲"}</span>`);
        query.set("sort", down ? column : `-${column}`);
      } else if (usual === "-rank") query.delete("sort"); // drawn for a table that is in its order
      if (q) query.set("q", q);
      query.delete("rows");
      link.setAttribute("href", `?${query}`);
    }
  }

  function show() {
    const at = wanted(), asked = key(at), view = asked === null ? undefined : known[normal(asked)];
    const tab = at.of("tab") || "rankings";
    document.title = view?.title || "EMMS leaderboard";
    byId("emms-static-answer").innerHTML = at.of("q") ? "" : view?.answer || "";
    byId("emms-static-view").innerHTML = view?.content || (rankings.length ? MISSING : byId("emms-static-view").innerHTML);
    byId("emms-static-bar").hidden = Boolean(at.of("checkpoint"));
    select.value = at.ranking;
    if (document.activeElement !== search) search.value = at.of("q");
    for (const link of byId("emms-static-tabs").children) {
      const query = new URLSearchParams(link.getAttribute("href"));
      link.removeAttribute("aria-current");
      if ((query.get("tab") || "rankings") === tab) link.setAttribute("aria-current", "page");
      query.set("task", at.task);
      query.set("ranking", at.ranking);
      link.setAttribute("href", `?${query}`);
    }
    const table = byId("emms-static-view").querySelector("table.board");
    if (table && tab === "rankings" && !at.of("checkpoint")) arrange(table, at.ranking, at.of("sort") || "rank", at.of("q"));
  }

  function go(changes) {
    const query = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(changes)) value ? query.set(name, value) : query.delete(name);
    history["q" in changes && Object.keys(changes).length === 1 ? "replaceState" : "pushState"](null, "", `?${query}`);
    show();
  }

  byId("emms-restore").addEventListener("click", show);
  byId("emms-static-bar").addEventListener("submit", (event) => event.preventDefault());
  select.addEventListener("change", () => go({ ranking: select.value, task: "", q: "", sort: "" }));
  search.addEventListener("input", () => go({ q: search.value.trim() }));
  show();
})();
