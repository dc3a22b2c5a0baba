// Calls of npm's @huggingface/hub against the Hub at HUB, with TOKEN; prints what they found as JSON.
import * as hub from "@huggingface/hub";

const common = { hubUrl: process.env.HUB, accessToken: process.env.TOKEN };
const repo = { type: "model", name: "ada/from-npm" };
const all = async (generator) => { const found = []; for await (const one of generator) found.push(one); return found; };
const text = async (path, revision) => (await hub.downloadFile({ repo, path, revision, ...common }))?.text();
const file = (path, content) => ({ path, content: new Blob([content]) });
const weights = new Uint8Array(300_000).map((_, place) => place % 251);
const card = "---\nlicense: mit\npipeline_tag: image-classification\n---\n# From npm\n";

const out = {};
out.account = (await hub.whoAmI(common)).name;
await hub.createRepo({ repo, ...common });
out.exists = [await hub.repoExists({ repo, ...common }), await hub.repoExists({ repo: "ada/none", ...common })];
await hub.uploadFiles({ repo, files: [file("README.md", card), file("model.safetensors", weights)], ...common });
out.files = (await all(hub.listFiles({ repo, recursive: true, ...common }))).map(({ path, size, lfs }) => [path, size, Boolean(lfs)]);
out.card = await text("README.md");
const back = new Uint8Array(await (await hub.downloadFile({ repo, path: "model.safetensors", ...common })).arrayBuffer());
out.same = back.length === weights.length && back.every((byte, place) => byte === weights[place]);
out.info = (await hub.fileDownloadInfo({ repo, path: "model.safetensors", ...common })).size;
out.there = [await hub.fileExists({ repo, path: "README.md", ...common }), await hub.fileExists({ repo, path: "none", ...common })];
out.paths = (await hub.pathsInfo({ repo, paths: ["README.md", "none"], ...common })).map(({ path }) => path);
const proposed = await hub.commit({
  repo, title: "Propose", isPullRequest: true, operations: [{ operation: "addOrUpdate", ...file("notes.txt", "new") }], ...common,
});
out.proposed = new URL(proposed.pullRequestUrl).pathname;
out.ofProposal = await text("notes.txt", "refs/pr/1");
await hub.createBranch({ repo, branch: "draft", ...common });
out.draft = await text("README.md", "draft");
await hub.deleteFile({ repo, path: "model.safetensors", ...common });
out.left = (await all(hub.listFiles({ repo, ...common }))).map(({ path }) => path);
out.commits = (await all(hub.listCommits({ repo, ...common }))).length;
const model = await hub.modelInfo({ name: repo.name, additionalFields: ["tags"], ...common }); // at revision HEAD
out.model = [model.name, model.task, model.tags.includes("license:mit")];
out.listed = (await all(hub.listModels({ search: { owner: "ada" }, ...common }))).map(({ name }) => name);
await hub.createRepo({ repo: { type: "space", name: "ada/page" }, sdk: "static", ...common });
out.space = (await hub.spaceInfo({ name: "ada/page", ...common })).sdk;
await hub.deleteRepo({ repo, ...common });
out.gone = !(await hub.repoExists({ repo, ...common }));
console.log(JSON.stringify(out));
