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
    const answer = await fetch(`views/${name}.html`, { signal });
    if (!answer.ok && answer.status !== 404) throw new Error(`the server answered ${answer.status}`);
    files.set(name, answer.ok ? await answer.text() : missing);
  }
  const file = new DOMParser().parseFromString(files.get(name), "text/html");

  const main = document.getElementById("emms").cloneNode(true);
  const page = (selector) => main.querySelector(selector);
  main.removeAttribute("aria-busy");
  page("#emms-part").replaceChildren(...file.body.childNodes);
  page("#emms-bar").hidden = Boolean(of("checkpoint")) || tab === "about";
  page("#emms-ranking").value = ranking;
  page("#emms-q").value = of("q").trim();
  for (const link of page("nav").children) {
    const query = new URLSearchParams(link.getAttribute("href"));
    link.toggleAttribute("aria-current", (query.get("tab") || "rankings") === tab);
    if (link.hasAttribute("aria-current")) link.setAttribute("aria-current", "page");
    for (const [field, value] of [["task", task], ["ranking", ranking]]) query.set(field, value);
    link.setAttribute("href", `?${query}`);
  }
  if (of("q")) page("#emms-answer").replaceChildren();
  const table = page("table[data-orders]");
  if (table) arrange(table, tab === "across" ? ["order", of("order") || "-wins"] : ["sort", of("sort") || "rank"]);
  main.dataset.query = `${asked}`;
  return { title: file.title || "EMMS leaderboard", main };

  function arrange(table, [field, sort]) {
    const body = table.tBodies[0], rows = [...body.rows];
    const places = JSON.parse(table.dataset.orders)[sort.replace(/^-/, "")], down = sort.startsWith("-");
    if (places) {
      const rank = (row) => places[row] ?? Infinity;
      const order = [...rows.keys()].sort((one, other) => {
        const [a, b] = [rank(one), rank(other)];
        if (a === b) return one - other;
        return a === Infinity || b === Infinity || !down ? a - b : b - a;
      });
      body.replaceChildren(...order.map((place) => rows[place]));
    }
    const words = of("q").toLowerCase().split("|").map((part) => part.split(/\s+/).filter(Boolean)).filter((part) => part.length);
    let count = 0;
    for (const row of rows) {
      const name = row.querySelector(".name").textContent.toLowerCase();
      row.hidden = words.length > 0 && !words.some((part) => part.every((word) => name.includes(word)));
      count += !row.hidden;
      if (sort !== "rank" || words.length) row.classList.remove("band");
    }
    const counted = page("#emms-count");
    if (counted) counted.textContent = `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} checkpoints`;
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
      if (of("q")) query.set("q", of("q"));
      query.delete("rows");
      link.setAttribute("href", `?${query}`);
    }
  }
};
