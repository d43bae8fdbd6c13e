// A client of MCP's TypeScript SDK: connects, lists, calls with progress, cancels a call.
//
//     node typescript_client.mjs '{"sdk": "v1", "command": ["rune-mcp"], "env": {}}'
//     node typescript_client.mjs '{"sdk": "v2", "era": "auto", "url": "http://...", "token": "..."}'
//
// Prints one JSON object: what it saw. The SDKs are found in the node_modules beside this file.

const given = JSON.parse(process.argv[2]);
const { Client, StdioClientTransport, StreamableHTTPClientTransport, call } = await sdk(given.sdk);
const client = new Client(
  { name: "conformance", version: "1" },
  { versionNegotiation: { mode: given.era ?? "legacy" } },
);
await client.connect(transport());

const tools = (await client.listTools()).tools.map((tool) => tool.name);
const progress = [];
const task = { task_description: "Think a while, then add.", test_suite: given.tests };
const answer = await call(client, { name: "run_task", arguments: task }, {
  onprogress: (seen) => progress.push(seen),
});
const unknown = await failure(call(client, { name: "nobody", arguments: {} }, {}));
const cancelled = await failure(cancelledOnceItRuns());
const jobs = await onceNothingRuns();
const server = client.getServerVersion();
await client.close();
console.log(JSON.stringify({ server, tools, progress, answer, unknown, cancelled, jobs }));

async function cancelledOnceItRuns() {
  const leaving = new AbortController();
  return call(client, { name: "run_task", arguments: { task_description: "Think for ever." } }, {
    signal: leaving.signal,
    onprogress: (seen) => seen.message.endsWith("generating") && leaving.abort("enough"),
  });
}

// Leaving at once would take a cancellation along that is still on its way.
async function onceNothingRuns() {
  for (const deadline = Date.now() + 30_000; ; await new Promise((done) => setTimeout(done, 50))) {
    const status = await call(client, { name: "memory_status", arguments: {} }, {});
    const { jobs } = status.structuredContent;
    if (!jobs.running || Date.now() > deadline) return jobs;
  }
}

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return { code: error.code ?? null, message: String(error.message ?? error) };
  }
  return null;
}

function transport() {
  if (given.url) {
    const headers = { Authorization: `Bearer ${given.token}` };
    return new StreamableHTTPClientTransport(new URL(given.url), { requestInit: { headers } });
  }
  const [command, ...args] = given.command;
  return new StdioClientTransport({ command, args, env: given.env, stderr: "inherit" });
}

async function sdk(version) {
  if (version === "v1") {
    const found = await Promise.all([
      import("@modelcontextprotocol/sdk/client/index.js"),
      import("@modelcontextprotocol/sdk/client/stdio.js"),
      import("@modelcontextprotocol/sdk/client/streamableHttp.js"),
    ]);
    const call = (client, params, options) => client.callTool(params, undefined, options);
    return Object.assign({ call }, ...found);
  }
  const found = await Promise.all([
    import("@modelcontextprotocol/client"),
    import("@modelcontextprotocol/client/stdio"),
  ]);
  const call = (client, params, options) => client.callTool(params, options);
  return Object.assign({ call }, ...found);
}
