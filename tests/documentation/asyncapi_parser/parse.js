// Prints, as JSON, what the AsyncAPI project's own parser finds in each of the documents named.

const fs = require("node:fs");
const { Parser } = require("@asyncapi/parser");

const SEVERITIES = ["error", "warning", "information", "hint"];

async function parsed(path) {
  const text = fs.readFileSync(path, "utf8");
  const { document, diagnostics } = await new Parser().parse(text, { source: path });
  return {
    operations: document ? document.operations().length : 0,
    found: diagnostics.map((each) => ({
      severity: SEVERITIES[each.severity],
      code: String(each.code),
      path: each.path.join("."),
      message: each.message,
    })),
  };
}

Promise.all(process.argv.slice(2).map(parsed)).then((all) => console.log(JSON.stringify(all)));
