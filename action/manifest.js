'use strict'
// The installed packages are used only while they are what was installed: no file more, none less, none changed.
//
// The manifest holds each file's SHA-256, size, and times of its last change. Where size and times are the same, so is the
// content: the kernel sets the time of change (ctime), and no call sets it to a value of the caller's choice. Otherwise
// the content is hashed, which also accepts a cache that was copied. A look at all files takes some 15 ms.
const { createHash } = require('node:crypto')
const fs = require('node:fs')
const path = require('node:path')

const name = 'manifest.json'
const packages = 'packages'

/** All files below a folder by their relative paths; undefined if there is anything but files and folders. */
function list(folder) {
  const files = []
  const waiting = ['']
  while (waiting.length) {
    const inner = waiting.pop()
    for (const entry of fs.readdirSync(`${folder}/${inner}`, { withFileTypes: true })) {
      const place = inner + entry.name
      if (entry.isDirectory()) waiting.push(`${place}/`)
      else if (entry.isFile()) files.push(place)
      else return undefined
    }
  }
  return files
}

function digest(file) {
  return createHash('sha256').update(fs.readFileSync(file)).digest('base64')
}

/** Metadata that changes with a file's content. */
function stamp(file) {
  const { size, mtimeMs, ctimeMs } = fs.lstatSync(file)
  return `${size} ${mtimeMs} ${ctimeMs}`
}

function write(folder, manifest) {
  const draft = path.join(folder, `${name}.${process.pid}`)
  fs.writeFileSync(draft, JSON.stringify(manifest))
  fs.renameSync(draft, path.join(folder, name))
}

/** Write down what is installed in `folder`, and whether its modules are `compiled`. */
function seal(folder, compiled) {
  const root = path.join(folder, packages)
  const found = list(root)
  if (!found) throw new Error(`${root} holds an entry that is not a regular file`)
  const files = Object.fromEntries(found.map((file) => [file, [digest(`${root}/${file}`), stamp(`${root}/${file}`)]]))
  write(folder, { compiled, files })
}

/** The manifest if `folder` holds what was installed, and nothing else; otherwise undefined. */
function inspect(folder) {
  try {
    return check(folder)
  } catch {
    return undefined
  }
}

function check(folder) {
  const root = path.join(folder, packages)
  const manifest = JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8'))
  if (!fs.lstatSync(root).isDirectory()) return undefined
  const files = list(root)
  const known = manifest.files
  if (!files || files.length !== Object.keys(known).length) return undefined
  let copied = false
  for (const file of files) {
    if (!Object.hasOwn(known, file)) return undefined
    const now = stamp(`${root}/${file}`)
    if (known[file][1] === now) continue
    if (known[file][0] !== digest(`${root}/${file}`)) return undefined
    known[file][1] = now
    copied = true
  }
  if (copied) {
    try {
      write(folder, manifest)
    } catch {
      // The cache came with the machine's image and is not ours to write to: its files are hashed each time.
    }
  }
  return manifest
}

module.exports = { inspect, packages, seal }
