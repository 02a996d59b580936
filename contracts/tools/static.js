// Compares what Slither found with what tools/static.json explains: static.js FOUND SAID
"use strict";
const fs = require("fs");
const path = require("path");

const [found, said] = process.argv.slice(2).map((file) => fs.readFileSync(file, "utf8"));
const explained = JSON.parse(fs.readFileSync(path.join(__dirname, "static.json"), "utf8"));
const report = JSON.parse(found);
if (!report.success) throw new Error(report.error);

// A finding is told by its kind and the name of what it is about, which line numbers do not change.
const findings = (report.results.detectors ?? []).map(({ check, description, elements }) => {
  const [{ name, type, type_specific_fields: fields }] = elements;
  const owner = fields?.parent?.name;
  return { check, about: type === "variable" && fields?.parent?.type === "function" ? `${owner}.${name}` : name, description };
});
for (const [description, about] of said.matchAll(/^Impossible to generate IR for (?:\w+\.)?(\w+).*$/gm)) {
  findings.push({ check: "not-analysed", about, description: `${description}\n` });
}
const explains = (finding) => (reason) => reason.check === finding.check && reason.about.includes(finding.about);
const open = findings.filter((finding) => !explained.some(explains(finding)));
const idle = explained.flatMap(({ check, about }) =>
  about.filter((name) => !findings.some((finding) => finding.check === check && finding.about === name)).map((name) => `${check} ${name}`),
);
for (const { check, about, description } of open) process.stdout.write(`unexplained: ${check} ${about}\n${description}`);
for (const name of idle) process.stdout.write(`explained, but not found any more: ${name}\n`);
process.stdout.write(`${findings.length} findings, ${open.length} of them unexplained\n`);
if (open.length > 0 || idle.length > 0) process.exitCode = 1;
