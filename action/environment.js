'use strict'
// The Python that runs the product, and its packages: a folder in the runner's tool cache, keyed by version, lock and
// interpreter, so that a warm start costs one short question to the interpreter and a look at the folder's files.
//
// Every program runs in `/`, isolated, and with an environment of its own: the workspace's files (pip.py, uv.toml, …)
// are not found from there.
const { createHash } = require('node:crypto')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const child = require('./child')
const { isIntact, packages, seal } = require('./manifest')
const { findProgram, forInstallers, isOutside } = require('./workspace')

const root = path.join(__dirname, '..')
const lock = path.join(root, 'requirements.lock')
const runPip = path.join(__dirname, 'run_pip.py')
const pack = path.join(__dirname, 'pack.py')
const layout = 2 // of the folder: one that an earlier version made is not for this one
const draftName = /\.draft-[A-Za-z0-9]{6}(\.rejected)?$/
const longestInstallation = 86400 * 1000
const oldest = [3, 11]
const candidates = ['python3', 'python3.14', 'python3.13', 'python3.12', 'python3.11', 'python']
// Isolated and without site: nothing of the user's environment is imported, and the answer takes 10 ms.
const probe = ['-I', '-S', '-c', 'import sys; print(sys.executable, sys.base_prefix, *sys.version_info[:2], sep="\\n")']
const { env: quiet, ignored } = forInstallers()

/** An error whose message is the whole story: shown without a stack. */
class SetupError extends Error {}

/** A signal ended the work. */
class Interrupted extends Error {
  constructor(code) {
    super('interrupted while installing')
    this.code = code
  }
}

/** Run a program quietly, with `temporary` as its folder for files: its result, or undefined if there is no such program. */
async function attempt(program, args, temporary) {
  let result
  try {
    const env = temporary ? { ...quiet, TMPDIR: temporary } : quiet
    result = await child.run(program, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd: '/', env })
  } catch {
    return undefined
  }
  if (result.interrupted) throw new Interrupted(result.interrupted)
  return result
}

/** The interpreter behind a command, with its path and version; undefined if it does not answer or is the workspace's. */
async function ask(command) {
  const program = findProgram(command)
  const answer = program && await attempt(program, probe)
  if (answer?.code !== 0) return undefined
  const [executable, library, major, minor] = answer.output.trim().split('\n')
  if (!isOutside(executable) || !isOutside(library)) return undefined
  return { command, executable, version: [Number(major), Number(minor)] }
}

function isRecent({ version: [major, minor] }) {
  return major > oldest[0] || (major === oldest[0] && minor >= oldest[1])
}

/** The first interpreter that is recent enough: the `python` input alone if it is given. */
async function findPython(wanted) {
  const asked = wanted ? [wanted] : candidates
  const seen = []
  for (const command of asked) {
    const python = await ask(command)
    if (python && isRecent(python)) return python
    if (python) seen.push(`${command} is ${python.version.join('.')}`)
  }
  const found = seen.join(', ') || (wanted ? `${wanted} does not run, or lies in the workspace` : 'there is none on the PATH outside of the workspace')
  throw new SetupError(`kube-builder needs Python ${oldest.join('.')} or newer: ${found}; add actions/setup-python before this step, or name one with the input python`)
}

/** What uv, pip or venv complained about, on one line. */
function complaint(output) {
  const lines = output.split('\n').map((line) => line.trim()).filter(Boolean)
  return lines.findLast((line) => /^error/i.test(line)) ?? lines.at(-1) ?? 'no reason given'
}

/** Fill `folder` with the locked packages: built ones only, each held against its hash, nothing left to resolve. */
async function fill(python, folder) {
  const complaints = []
  for await (const install of installers(python, folder)) {
    // Each begins with an empty folder: the one before may have left half of its work.
    fs.rmSync(path.join(folder, packages), { recursive: true, force: true })
    fs.mkdirSync(path.join(folder, packages))
    const [program, ...words] = install
    const options = ['--quiet', '--target', path.join(folder, packages), '--no-deps', '--only-binary', ':all:']
    const installed = await attempt(program, [...words, ...options, '--require-hashes', '--requirement', lock], folder)
    if (installed?.code === 0) return
    if (installed) complaints.push(complaint(installed.output))
  }
  if (!complaints.length) {
    throw new SetupError(`kube-builder needs uv, pip or venv for ${python.executable}: install one (on Debian and Ubuntu: apt-get install python3-venv), or add actions/setup-python before this step`)
  }
  throw new SetupError(`kube-builder cannot install its Python packages with ${python.executable}: ${complaints.at(-1)}`)
}

/** The commands that install packages, best first; the next one is asked for when the one before has failed. */
async function * installers(python, folder) {
  // Interpreters run without site, or are new: what earlier steps have installed may run files of the checkout.
  const isolated = [python.executable, '-I', '-S']
  const own = path.join(folder, 'venv')
  const inside = path.join(own, 'bin', 'python')
  const venv = async (...options) => (await attempt(isolated[0], [...isolated.slice(1), '-m', 'venv', ...options, own], folder))?.code === 0
  const options = ['install', '--disable-pip-version-check', '--no-input', '--no-compile']
  // Packages of uv's cache are not held against their hashes again, so it does not count.
  const uv = findProgram('uv')
  if (uv && (await attempt(uv, ['--version']))?.code === 0 && await venv('--without-pip')) yield [uv, 'pip', 'install', '--no-cache', '--python', inside]
  if ((await attempt(isolated[0], [...isolated.slice(1), runPip, '--version']))?.code === 0) {
    yield [...isolated, runPip, ...options]
  } else if (await venv('--clear')) {
    yield [inside, '-I', '-m', 'pip', ...options]
  }
}

/** The product's version, for people who look into the cache. */
function version() {
  const text = fs.readFileSync(path.join(root, 'ci_buildx', '__init__.py'), 'utf8')
  return /__version__ = "([^"]+)"/.exec(text)?.[1] ?? '0'
}

/** Install into a draft beside `folder`, which gets its name when it is whole. */
async function install(python, folder) {
  fs.mkdirSync(path.dirname(folder), { recursive: true })
  const draft = fs.mkdtempSync(`${folder}.draft-`)
  const rejected = `${draft}.rejected`
  try {
    await fill(python, draft)
    // A failure costs time in later starts, and nothing else.
    await attempt(python.executable, ['-I', '-S', pack, path.join(draft, packages)])
    seal(draft)
    for (const left of fs.readdirSync(draft)) {
      if (left !== packages && left !== 'manifest.json') fs.rmSync(path.join(draft, left), { recursive: true })
    }
    const wasThere = fs.existsSync(folder) // asked first: what appears from here on is another job's, and whole
    if (isIntact(folder)) return // another job of this runner was first
    // What is there is not ours any more. A job that still runs from it finds the same files at the same paths.
    if (wasThere) fs.renameSync(folder, rejected)
    fs.renameSync(draft, folder)
  } catch (error) {
    if (!isIntact(folder)) throw error // else another job of this runner was first
  } finally {
    for (const left of [draft, rejected]) fs.rmSync(left, { recursive: true, force: true })
  }
}

/** The folder that environments are in, in the runner's tool cache unless that lies in the workspace. */
function findCache() {
  const places = [process.env.RUNNER_TOOL_CACHE, path.join(os.homedir(), '.cache'), process.env.RUNNER_TEMP]
  const found = places.filter(Boolean).map((place) => path.join(place, 'kube-builder')).find((place) => isOutside(place))
  // Not /tmp: there, another user of the machine could have made the folder first.
  if (!found) throw new SetupError('kube-builder has no folder outside of the workspace for its Python packages; set RUNNER_TOOL_CACHE to one')
  return found
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

/** The environment of this version if there is only one and it is intact: most runners have one interpreter. */
function checkEarly(home) {
  const found = fs.existsSync(home) ? fs.readdirSync(home) : []
  const drafts = found.filter((name) => draftName.test(name))
  for (const name of drafts) sweep(path.join(home, name))
  const names = found.filter((name) => name.startsWith(`${version()}-`) && !drafts.includes(name))
  const folder = path.join(home, names[0] ?? '')
  return names.length === 1 && isIntact(folder) ? folder : undefined
}

/** The interpreter and the folder of the packages, which are installed if they are missing or not what was installed. */
async function prepare(wanted) {
  const asked = findPython(wanted)
  asked.catch(() => {}) // reported below
  const home = findCache()
  const checked = checkEarly(home) // while the interpreter answers
  const python = await asked
  const key = createHash('sha256').update(fs.readFileSync(lock)).update(JSON.stringify([layout, python.executable, python.version, process.arch]))
  const folder = path.join(home, `${version()}-${key.digest('hex').slice(0, 16)}`)
  if (checked !== folder && !isIntact(folder)) {
    if (fs.existsSync(folder)) console.log(`::warning title=kube-builder::${folder} is not what was installed there: its packages are installed again`)
    for (const name of ignored) console.log(`kube-builder: ${name} leads into the workspace and does not count`)
    console.log(`kube-builder: installing its Python packages into ${folder}, once for this runner`)
    await install(python, folder)
  }
  return { python: python.executable, packages: path.join(folder, packages) }
}

module.exports = { Interrupted, SetupError, prepare }
