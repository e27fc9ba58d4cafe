'use strict'
// A release's bundle: an archive of all packages for one interpreter, known by its digest, in place of a package index.
const path = require('node:path')
const { createHash } = require('node:crypto')
const fs = require('node:fs')
const lock = require('./lock')
const { packages } = require('./manifest')
const { SetupError, attempt } = require('./python')

const unpacker = path.join(__dirname, 'unpack.py')
const machines = { x64: 'x86_64', arm64: 'aarch64' }
const unusable = 3 // exit code of unpack.py: another way must be found

/** The bundle is not for this interpreter or this version, or cannot be read. */
class Unusable extends Error {}

/**
 * The bundle that fits the interpreter: the only one, or the one whose name has its tag.
 * @param {string} text the input `bundle`: a line for each archive
 */
function chooseBundle(text, { version }) {
  const bundles = text.split('\n').map((line) => line.trim()).filter(Boolean).map(parse)
  if (bundles.length === 1) return bundles[0]
  const tag = `cp${version.join('')}-linux-${machines[process.arch] ?? process.arch}`
  const found = bundles.find(({ name }) => name.includes(tag))
  if (!found) throw new Unusable(`input bundle: no archive's name contains ${tag}`)
  return found
}

function parse(line) {
  const [, source, digest] = /^(\S+)@sha256:([0-9a-f]{64})$/.exec(line) ?? []
  // A text without a digest may be a token that was put into the wrong input: it is not shown.
  if (!source) throw new SetupError('input bundle: each line must be a URL or an absolute path, @sha256: and 64 hexadecimal digits')
  const [, place] = /^(https?:\/\/[^/?#@]+\/[^?#]*|file:\/\/\/[^?#]*|\/[^?#]*)/.exec(source) ?? []
  if (!place) throw new SetupError('input bundle: the archive must be named by an absolute path or by an http, https or file URL without user and password')
  return { source, digest, name: path.posix.basename(place) }
}

/** Fetch and unpack a bundle, once it has its digest, into the packages of `draft`. */
async function unpackBundle(python, bundle, draft) {
  const locked = createHash('sha256').update(fs.readFileSync(lock.file)).digest('hex')
  const words = [bundle.digest, locked, path.join(draft, packages)]
  const result = await attempt(python.executable, ['-I', '-S', unpacker, ...words], draft, { BUNDLE: bundle.source })
  if (result?.code === 0) return
  const message = `bundle ${bundle.name}: ${result?.output.trim().split('\n').at(-1) || 'cannot be unpacked'}`
  throw result?.code === unusable ? new Unusable(message) : new SetupError(message)
}

module.exports = { Unusable, chooseBundle, unpackBundle }
