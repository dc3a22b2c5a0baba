// A page without a server: the view of the address is a file; its rows are ordered and searched here.
window.emmsView = async (signal) => {
  const idsByTask = JSON.parse(document.getElementById("emms-rankings").textContent);
  const rankings = Object.entries(idsByTask).flatMap(([task, ids]) => ids.map((id) => [id, task]));
  const asked = new URLSearchParams(location.search);
  const of = (name) => asked.get(name) ?? "";
  const entry = of("ranking")
    ? rankings.find(([id]) => id === of("ranking"))
    : rankings.find(([, task]) => task === of("task")) ?? rankings[0];
  const [ranking, task] = entry ?? [of("ranking"), of("task")];
  const namesNothing = [...asked.keys()].every((name) => name.startsWith("__"));
  const tab = of("tab") || (namesNothing ? "home" : "rankings");
  let key = [tab, ranking];
  if (asked.has("with")) key = ["with"];
  else if (of("checkpoint")) key = ["checkpoint", of("checkpoint")];
  else if (tab === "across") key = ["across", of("scope") === "all" ? "" : task];
  else if (tab === "cost") key = ["cost", ranking, of("cost") || "parameters"];
  else if (tab === "about" || tab === "home") key = [tab, ""];

  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key.join("\n")));
  const name = [...new Uint8Array(bytes).slice(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const files = window.emmsFiles ??= new Map();
  const missing = '<div id="emms-answer"></div><section id="emms-view" tabindex="-1"><p class="empty">'
    + "This page has no such view: it was removed, or it needs the server.</p></section>";
  if (!files.has(name)) {
    const answer = await fetch(`views/${name}.html.gz`, { signal });
    if (!answer.ok && answer.status !== 404) throw new Error(`the server answered ${answer.status}`);
    files.set(name, answer.ok ? await unpacked(await answer.arrayBuffer()) : missing);
  }
  const file = new DOMParser().parseFromString(files.get(name), "text/html");

  const main = document.getElementById("emms").cloneNode(true);
  const page = (selector) => main.querySelector(selector);
  main.removeAttribute("aria-busy");
  page("#emms-part").replaceChildren(...file.body.childNodes);
  page("#emms-bar").hidden = Boolean(of("checkpoint")) || tab === "about";
  page("#emms-ranking").value = tab === "home" ? "" : ranking;
  page("#emms-q").value = of("q").trim();
  for (const link of page("nav").children) {
    const query = new URLSearchParams(link.getAttribute("href"));
    link.toggleAttribute("aria-current", (query.get("tab") || "rankings") === tab);
    if (link.hasAttribute("aria-current")) link.setAttribute("aria-current", "page");
    for (const [field, value] of [["task", task], ["ranking", ranking]]) query.set(field, value);
    link.setAttribute("href", `?${query}`);
  }
  if (tab === "home" && words().length) searchHome();
  const table = page("table[data-orders]");
  if (table) arrange(table, tab === "across" ? ["order", of("order") || "-wins"] : ["sort", of("sort") || "rank"]);
  main.dataset.query = `${asked}`;
  return { title: file.title || "EMMS leaderboard", main };

  // Some hosts unpack a file on its way, others send it as it is.
  function unpacked(content) {
    const isPacked = new Uint8Array(content, 0, 2).every((byte, place) => byte === [0x1f, 0x8b][place]);
    const plain = new Blob([content]).stream();
    return new Response(isPacked ? plain.pipeThrough(new DecompressionStream("gzip")) : plain).text();
  }

  function words() {
    return of("q").toLowerCase().split("|").map((part) => part.split(/\s+/).filter(Boolean)).filter((part) => part.length);
  }

  // Of an address that the page with a server has made; what is not known of a checkpoint passes no filter on it.
  function passes(facts) {
    const [least, most] = ["min", "max"].map((name) => window.emmsSizes[of(name)]);
    const size = facts.parameters ?? NaN;
    if ((least && !(size >= least)) || (most && !(size <= most)) || (of("trained") === "unseen" && facts.seen)) return false;
    return ["library", "license", "language"].every((name) => {
      const allowed = asked.getAll(name).filter(Boolean);
      return !allowed.length || allowed.some((value) => facts[name].includes(value));
    });
  }

  function searchHome() {
    let count = 0;
    for (const box of page("#emms-view").querySelectorAll(".sideways")) {
      const title = box.previousElementSibling;
      let left = 0;
      for (const row of box.querySelectorAll("tbody tr")) {
        const text = `${title.textContent} ${row.textContent}`.toLowerCase();
        row.hidden = !words().some((part) => part.every((word) => text.includes(word)));
        left += !row.hidden;
      }
      title.hidden = box.hidden = !left;
      count += left;
    }
    page("#emms-count").textContent = `${count.toLocaleString("en")} ${count === 1 ? "dataset" : "datasets"}.`;
  }

  // The best of the rows that are left, as the table says it.
  function answerAgain(rows, places) {
    const ranked = [...rows.keys()].filter((row) => !rows[row].hidden && places[row] !== null);
    const answer = page("#emms-answer"), sentence = document.createElement("p");
    answer.replaceChildren(sentence);
    sentence.className = "answer";
    if (!ranked.length) { sentence.textContent = "None of these checkpoints has a score."; return; }
    const first = ranked.reduce((best, row) => places[row] < places[best] ? row : best);
    const equal = ranked.filter((row) => places[row] === places[first]).length - 1;
    const cell = (name) => rows[first].querySelector(`.${name}`);
    const link = cell("name").closest("a").cloneNode(true);
    sentence.append("Best of these: ", link, `, rank ${cell("place").textContent.trim()} of all`);
    sentence.append(equal ? `, tied with ${equal} more.` : ".");
  }

  function arrange(table, [field, sort]) {
    const body = table.tBodies[0], rows = [...body.rows];
    const orders = JSON.parse(table.dataset.orders), facts = JSON.parse(table.dataset.facts ?? "null");
    const places = orders[sort.replace(/^-/, "")], down = sort.startsWith("-");
    if (places) {
      const rank = (row) => places[row] ?? Infinity;
      const order = [...rows.keys()].sort((one, other) => {
        const [a, b] = [rank(one), rank(other)];
        if (a === b) return one - other;
        return a === Infinity || b === Infinity || !down ? a - b : b - a;
      });
      body.replaceChildren(...order.map((place) => rows[place]));
    }
    const parts = words();
    let count = 0;
    for (const [place, row] of rows.entries()) {
      const name = row.querySelector(".name").textContent.toLowerCase();
      const isNamed = !parts.length || parts.some((part) => part.every((word) => name.includes(word)));
      row.hidden = !isNamed || Boolean(facts && !passes(facts[place]));
      count += !row.hidden;
    }
    const isFiltered = count < rows.length;
    if (sort !== "rank" || isFiltered) rows.forEach((row) => row.classList.remove("band"));
    if (isFiltered && orders.rank) answerAgain(rows, orders.rank);
    const counted = page("#emms-count");
    if (counted) counted.textContent = `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} checkpoints`;
    const filters = ["min", "max", "library", "license", "language", "trained"].filter((name) => asked.has(name));
    if (counted && filters.length) {
      const rest = new URLSearchParams(asked);
      filters.forEach((name) => rest.delete(name));
      counted.insertAdjacentHTML("beforeend", " pass the filters of this address (<a>clear filters</a>)");
      counted.querySelector("a").href = `?${rest}`;
    }
    for (const link of table.tHead.querySelectorAll('th[data-column] a')) {
      const head = link.closest("th"), query = new URLSearchParams(link.getAttribute("href"));
      const first = head.dataset.first, here = head.dataset.column === sort.replace(/^-/, "");
      head.removeAttribute("aria-sort");
      link.querySelector("span")?.remove();
      query.set(field, first);
      if (here) {
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        link.insertAdjacentHTML("beforeend", `<span aria-hidden="true">${down ? "▼" : "▲"}</span>`);
        if (sort === first) query.set(field, down ? sort.slice(1) : `-${sort}`);
      }
      for (const name of ["q", ...filters]) {
        query.delete(name);
        asked.getAll(name).forEach((value) => query.append(name, value));
      }
      query.delete("rows");
      link.setAttribute("href", `?${query}`);
    }
  }
};
