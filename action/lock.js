'use strict'
// The locked packages, in two layers. A usual build imports the first one; the second one is installed when a job first
// imports from it (start.py, later.js).
const fs = require('node:fs')
const path = require('node:path')

const file = path.join(__dirname, '..', 'requirements.lock')
// The official Kubernetes client (legacy credentials, reaping), the live display, time zones, and what they need; and
// pycparser, which cffi needs only to build. A unit test compares the list with what each package requires.
const later = new Set(require('./later.json'))

/** The lock's entries: each is a package with its hashes, on several lines. */
function readEntries() {
  return fs.readFileSync(file, 'utf8').split(/^(?=[a-z0-9])/im).filter((entry) => /^[a-z0-9]/i.test(entry))
}

/** The entries of the first layer, or of the second one. */
function readLayer(second) {
  return readEntries().filter((entry) => later.has(/^[a-z0-9._-]+/i.exec(entry)[0]) === second)
}

module.exports = { file, readLayer }
