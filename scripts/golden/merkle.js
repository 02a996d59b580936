#!/usr/bin/env node
// Golden vectors of the trees that contributors claim by, from the reference library, @openzeppelin/merkle-tree.
// Usage: npm ci --ignore-scripts in contracts/, then
//   node scripts/golden/merkle.js > tests/ledger/chain/vectors/merkle.json
// A number after the script's name leaves out the trees that are larger. Small trees are written with their proofs, all
// with the SHA-256 of their proofs: of each leaf in turn, how many nodes its proof has (one byte), then the nodes.
"use strict";
const { createHash } = require("crypto");
const path = require("path");

const contracts = path.join(__dirname, "..", "..", "contracts");
const library = path.join(contracts, "node_modules", "@openzeppelin", "merkle-tree");
const { StandardMerkleTree } = require(library);
// The library's own getProof hashes every leaf and proof again to check itself, which takes minutes for large trees.
const { getProof } = require(path.join(library, "dist", "core"));
const { version } = require(path.join(library, "package.json"));

const CHAIN_ID = 31337;
const LARGEST = Number(process.argv[2] ?? 20000);
const SIZES = [...Array.from({ length: 127 }, (_, i) => i + 1), 20000].filter((size) => size <= LARGEST);
const WITH_PROOFS = 9;
const TYPES = ["uint256", "address", "address", "uint256"];

const sha256 = (text) => createHash("sha256").update(text).digest();
const address = (text) => "0x" + sha256(text).subarray(12).toString("hex");
const distributor = address("distributor");

// Amounts of 17 to 240 bits, so that 20 000 of them stay below 2^256.
const leaf = (n) => ({
  account: address(`account ${n}`),
  cumulative: (BigInt("0x" + sha256(`cumulative ${n}`).toString("hex")) >> BigInt(16 + (n % 224))).toString(),
});

const trees = SIZES.map((size) => {
  const leaves = Array.from({ length: size }, (_, n) => leaf(n));
  const tree = StandardMerkleTree.of(
    leaves.map(({ account, cumulative }) => [CHAIN_ID, distributor, account, cumulative]),
    TYPES,
  );
  const { tree: nodes, values } = tree.dump();
  const proofs = values.map(({ treeIndex }, n) => (size <= WITH_PROOFS ? tree.getProof(n) : getProof(nodes, treeIndex)));
  const all = createHash("sha256");
  for (const proof of proofs) {
    all.update(Buffer.from([proof.length]));
    for (const node of proof) all.update(Buffer.from(node.slice(2), "hex"));
  }
  const found = { size, root: tree.root, proofs_sha256: all.digest("hex") };
  return size <= WITH_PROOFS ? { ...found, leaves, proofs } : found;
});

const lines = trees.map((tree) => "    " + JSON.stringify(tree)).join(",\n");
process.stdout.write(
  `{\n  "library": "@openzeppelin/merkle-tree ${version}",\n  "chain_id": ${CHAIN_ID},\n` +
    `  "distributor": "${distributor}",\n  "trees": [\n${lines}\n  ]\n}\n`,
);
