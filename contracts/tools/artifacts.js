#!/usr/bin/env node
// Writes what Python needs of the contracts: artifacts.js FOLDER makes FOLDER/<name>.json for each of the contracts below.
// The same sources and compiler always give the same bytes.
"use strict";
const crypto = require("crypto");
const fs = require("fs");
const path = require("path");
const compiler = require("solc");

const CONTRACTS = [
  ["src/CumulativeDistributor.sol", "CumulativeDistributor"],
  ["src/demo/DemoToken.sol", "DemoToken"],
];
// foundry.toml says the same to forge; scripts/contracts check compares what comes out of both.
const SETTINGS = {
  evmVersion: "cancun",
  metadata: { appendCBOR: false, bytecodeHash: "none" },
  optimizer: { enabled: true, runs: 1000 },
  remappings: ["@openzeppelin/=node_modules/@openzeppelin/"],
};
const home = path.dirname(__dirname);
const read = (file) => fs.readFileSync(path.join(home, file), "utf8");
const sha256 = (text) => crypto.createHash("sha256").update(text).digest("hex");

// What the compiler makes of texts by the names of their files; imports are read from the files.
function compile(texts, settings, outputSelection) {
  const sources = Object.fromEntries(Object.entries(texts).map(([file, content]) => [file, { content }]));
  const input = { language: "Solidity", sources, settings: { ...settings, outputSelection } };
  const output = JSON.parse(compiler.compile(JSON.stringify(input), { import: (name) => ({ contents: read(name) }) }));
  const errors = (output.errors ?? []).filter((error) => error.severity === "error");
  if (errors.length > 0) throw new Error(errors.map((error) => error.formattedMessage).join("\n"));
  return output;
}

// The names of immutables by the number that the compiler gave them.
function variables(output) {
  const names = {};
  const visit = (node) => {
    if (node === null || typeof node !== "object") return;
    if (node.nodeType === "VariableDeclaration") names[node.id] = node.name;
    Object.values(node).forEach(visit);
  };
  Object.values(output.sources).forEach((source) => visit(source.ast));
  return names;
}

function artifact(file, name) {
  const wanted = { "*": { "": ["ast"], "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode"] } };
  const output = compile({ [file]: read(file) }, SETTINGS, wanted);
  const { abi, evm } = output.contracts[file][name];
  const names = variables(output);
  const places = Object.entries(evm.deployedBytecode.immutableReferences);
  const sources = Object.keys(output.sources).sort();
  return {
    contract: name,
    source: file,
    compiler: { version: compiler.version(), settings: SETTINGS },
    sources: Object.fromEntries(sources.map((source) => [source, sha256(read(source))])),
    abi,
    bytecode: "0x" + evm.bytecode.object,
    deployedBytecode: "0x" + evm.deployedBytecode.object,
    immutableReferences: Object.fromEntries(places.map(([id, found]) => [names[id], found])),
  };
}

function main([folder]) {
  if (folder === undefined) {
    process.stderr.write("usage: artifacts.js FOLDER\n");
    process.exit(2);
  }
  for (const [file, name] of CONTRACTS) {
    fs.writeFileSync(path.join(folder, `${name}.json`), JSON.stringify(artifact(file, name), null, 2) + "\n");
  }
}

if (require.main === module) main(process.argv.slice(2));
module.exports = { SETTINGS, compile, read };
