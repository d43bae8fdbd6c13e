// A host of MCP Apps for the panel: node panel_host.cjs PANEL.html OVERVIEW.json, with jsdom.
// Shows the panel in a frame, plays the host's side of the bridge, and prints what happened.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { JSDOM, VirtualConsole } = require(path.join(process.env.NODE_MODULES, "jsdom"));

const [html, overview] = process.argv.slice(2).map((file) => fs.readFileSync(file, "utf8"));
const complaints = [];
const virtualConsole = new VirtualConsole();
virtualConsole.on("jsdomError", (error) => complaints.push(String(error)));
const host = new JSDOM("<!DOCTYPE html><iframe></iframe>", { runScripts: "dangerously", virtualConsole });
const frame = host.window.document.querySelector("iframe");
const view = frame.contentWindow;
const sent = [];
const RESULT = { content: [{ type: "text", text: overview }], structuredContent: JSON.parse(overview) };
const ANSWERS = {
  "ui/initialize": {
    protocolVersion: "2026-01-26",
    hostCapabilities: { serverTools: {} },
    hostInfo: { name: "test", version: "1" },
    hostContext: { theme: "dark", styles: { variables: { "--color-text-primary": "#123456" } } },
  },
  "tools/call": RESULT,
};

function tell(message) {
  const data = { jsonrpc: "2.0", ...message };
  view.dispatchEvent(new view.MessageEvent("message", { data, source: view.parent }));
}

view.parent.postMessage = (message) => {
  sent.push(message);
  if (message.id !== undefined && message.method) {
    setTimeout(() => tell({ id: message.id, result: ANSWERS[message.method] }), 0);
  }
};
view.ResizeObserver = class {
  constructor(changed) { this.changed = changed; }
  observe() { this.changed(); }
};
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function play() {
  const document = view.document;
  document.open();
  document.write(html);
  document.close();
  await pause(50);
  tell({ method: "ui/notifications/tool-result", params: RESULT });
  const shown = [...document.querySelectorAll("tbody tr")].map((row) =>
    [...row.children].map((cell) => cell.textContent));
  const says = document.getElementById("said").textContent;
  document.getElementById("refresh").click();
  await pause(50);
  tell({ id: "bye", method: "ui/resource-teardown", params: { reason: "test" } });
  tell({ id: "odd", method: "ui/unheard-of" });
  console.log(JSON.stringify({
    sent, shown, says, complaints,
    held: document.getElementById("held").textContent,
    elements: [...new Set([...document.querySelectorAll("body *")].map((e) => e.localName))],
    theme: document.documentElement.style.colorScheme,
    refresh_is_hidden: document.getElementById("refresh").hidden,
  }));
  process.exit(0);
}
play();
