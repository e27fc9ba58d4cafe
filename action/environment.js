'use strict'
// The product's packages: folders in the runner's tool cache, keyed by version, lock and interpreter, so that a warm
// start costs one short question to the interpreter and a look at the folder's files. A new folder holds no compiled
// modules: on most runners the first job is the last one. The second start compiles them.
const { createHash } = require('node:crypto')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { Unusable, chooseBundle, unpackBundle } = require('./bundle')
const { fill } = require('./installers')
const lock = require('./lock')
const { inspect, packages, seal } = require('./manifest')
const { Interrupted, SetupError, attempt, findPython, ignored } = require('./python')
const { isOutside } = require('./workspace')

const root = path.join(__dirname, '..')
const compiler = path.join(__dirname, 'compile.py')
const layout = 3 // of the folder: one that an earlier version made is not for this one
const draftName = /\.draft-[A-Za-z0-9]{6}(\.rejected)?$/
const longestInstallation = 86400 * 1000

/** The product's version, for people who look into the cache. */
function version() {
  const text = fs.readFileSync(path.join(root, 'ci_buildx', '__init__.py'), 'utf8')
  return /__version__ = "([^"]+)"/.exec(text)?.[1] ?? '0'
}

/** The folder that all others are in, in the runner's tool cache unless that lies in the workspace. */
function findCache() {
  const places = [process.env.RUNNER_TOOL_CACHE, path.join(os.homedir(), '.cache'), process.env.RUNNER_TEMP]
  const found = places.filter(Boolean).map((place) => path.join(place, 'kube-builder')).find((place) => isOutside(place))
  // Not /tmp: there, another user of the machine could have made the folder first.
  if (!found) throw new SetupError('kube-builder has no folder outside of the workspace for its Python packages; set RUNNER_TOOL_CACHE to one')
  return found
}

/** The folder of a kind of packages for an interpreter: those of the lock, or those of a bundle with this digest. */
function locate(home, kind, python, digest = '') {
  const key = createHash('sha256').update(fs.readFileSync(lock.file))
  key.update(JSON.stringify([layout, kind, digest, python.executable, python.version, process.arch]))
  return path.join(home, `${kind}${version()}-${key.digest('hex').slice(0, 16)}`)
}

/** Fill a draft beside `folder`, which gets its name when it is whole. */
async function replace(folder, compiled, make) {
  fs.mkdirSync(path.dirname(folder), { recursive: true })
  const draft = fs.mkdtempSync(`${folder}.draft-`)
  const rejected = `${draft}.rejected`
  const isDone = () => (compiled ? inspect(folder)?.compiled : inspect(folder)) // by another job of this runner
  try {
    fs.mkdirSync(path.join(draft, packages))
    await make(draft)
    seal(draft, compiled)
    for (const left of fs.readdirSync(draft)) {
      if (left !== packages && left !== 'manifest.json') fs.rmSync(path.join(draft, left), { recursive: true })
    }
    const wasThere = fs.existsSync(folder) // asked first: what appears from here on is another job's, and whole
    if (isDone()) return
    // What is there is to be replaced. A job that still runs from it finds the same files at the same paths.
    if (wasThere) fs.renameSync(folder, rejected)
    fs.renameSync(draft, folder)
  } catch (error) {
    if (!isDone()) throw error
  } finally {
    for (const left of [draft, rejected]) fs.rmSync(left, { recursive: true, force: true })
  }
}

/** Compile what a verified folder holds. A failure costs time in later starts, and nothing else. */
async function compile(python, folder) {
  try {
    await replace(folder, true, async (draft) => {
      fs.cpSync(folder, draft, { recursive: true })
      if (!inspect(draft)) throw new Error(`${folder} has changed`)
      await attempt(python.executable, ['-I', '-S', compiler, path.join(draft, packages)])
    })
  } catch (error) {
    if (error instanceof Interrupted) throw error
  }
}

/** Remove what an installation left that was killed: it is this user's, and older than any that still runs. */
function sweep(place) {
  try {
    const { uid, mtimeMs } = fs.lstatSync(place)
    if (uid === process.getuid() && Date.now() - mtimeMs > longestInstallation) fs.rmSync(place, { recursive: true, force: true })
  } catch {
    // Another job has removed it, or nobody may: it costs space, and nothing else.
  }
}

/** The first layer of this version if there is only one and it is intact: most runners have one interpreter. */
function checkEarly(home) {
  const found = fs.existsSync(home) ? fs.readdirSync(home) : []
  const drafts = found.filter((name) => draftName.test(name))
  for (const name of drafts) sweep(path.join(home, name))
  const names = found.filter((name) => name.startsWith(`${version()}-`) && !drafts.includes(name))
  const folder = path.join(home, names[0] ?? '')
  return { folder, manifest: names.length === 1 ? inspect(folder) : undefined }
}

/** Fill `folder` by `make` unless it is intact: its manifest if it was. */
async function ensure(folder, what, say, make, compiled = false) {
  const manifest = inspect(folder)
  if (manifest) return manifest
  if (fs.existsSync(folder)) say(`::warning title=kube-builder::${folder} is not what was installed there: its packages are installed again`)
  for (const name of ignored) say(`kube-builder: ${name} leads into the workspace and does not count`)
  say(`kube-builder: ${what} into ${folder}, once for this runner`)
  await replace(folder, compiled, make)
}

/** The folder of a bundle's packages; undefined, with a warning, if the bundle cannot be used. */
async function openBundle(home, python, text, say) {
  try {
    const bundle = chooseBundle(text, python)
    const folder = locate(home, '', python, bundle.digest)
    await ensure(folder, `unpacking ${bundle.name}`, say, (draft) => unpackBundle(python, bundle, draft), true)
    return folder
  } catch (error) {
    if (!(error instanceof Unusable)) throw error
    say(`::warning title=kube-builder::${error.message}; the packages come from the package index`)
    return undefined
  }
}

/**
 * The interpreter, and the folder of the packages that it needs first.
 * @param {string} wanted the input `python`
 * @param {string} bundle the input `bundle`
 */
async function prepare(wanted, bundle) {
  const asked = findPython(wanted)
  asked.catch(() => {}) // reported below
  const home = findCache()
  const early = checkEarly(home) // while the interpreter answers
  const python = await asked
  const folder = (bundle && await openBundle(home, python, bundle, console.log)) || locate(home, '', python)
  const isEarly = early.folder === folder && early.manifest
  const known = isEarly || await ensure(folder, 'installing its Python packages', console.log, (draft) => fillLayer(python, false, draft))
  if (known && !known.compiled) await compile(python, folder)
  return { python: python.executable, packages: path.join(folder, packages) }
}

/** The folder of the packages that few jobs need, installed when `module` is imported; `say` gets the lines of the log. */
async function prepareLater(command, module, say) {
  const python = await findPython(command)
  const folder = locate(findCache(), 'later-', python)
  await ensure(folder, `${module} is needed: installing the second layer of Python packages`, say, (draft) => fillLayer(python, true, draft))
  return path.join(folder, packages)
}

function fillLayer(python, second, draft) {
  return fill(python, lock.readLayer(second), draft, path.join(draft, packages))
}

module.exports = { prepare, prepareLater }
