// The official client under node, driven by one JSON line for each command and telling what happens in the same way.
// Arguments: the page's package.json (whose node_modules hold the client), the URL to negotiate with, and options.
const { createRequire } = require("node:module");
const readline = require("node:readline");

const [packageJson, url, optionsText] = process.argv.slice(2);
const options = JSON.parse(optionsText);
const signalR = createRequire(packageJson)("@microsoft/signalr");

const tell = (event, fields = {}) => process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);

const builder = new signalR.HubConnectionBuilder()
  .withUrl(url, options.transport ? { transport: signalR.HttpTransportType[options.transport] } : {})
  .configureLogging(signalR.LogLevel.None);
if (options.reconnect) builder.withAutomaticReconnect([0, 50, 100, 200, 500, 1000]);
if (options.stateful) builder.withStatefulReconnect();
const connection = builder.build();
if (options.serverTimeout) connection.serverTimeoutInMilliseconds = options.serverTimeout;
if (options.keepAlive) connection.keepAliveIntervalInMilliseconds = options.keepAlive;

connection.on("token", (...values) => tell("token", { values }));
connection.onreconnecting(() => tell("reconnecting"));
connection.onreconnected((connectionId) => tell("reconnected", { connectionId }));
connection.onclose((error) => tell("closed", { error: error ? String(error) : null }));

const commands = {
  async stop() {
    await connection.stop();
  },
  async invoke() {
    await connection.invoke("shout", "anybody?").catch((error) => tell("invokeFailed", { error: String(error) }));
  },
};

connection.start().then(
  () => tell("connected", { connectionId: connection.connectionId }),
  (error) => tell("failed", { error: String(error) }),
);
readline.createInterface({ input: process.stdin }).on("line", (line) => commands[line.trim()]());
