'use strict'
// The Python that runs the product: a private environment in the runner's tool cache, keyed by version, lock and
// interpreter, so that a warm start costs one short question to the interpreter and a look at a folder.
const { createHash } = require('node:crypto')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const child = require('./child')

const root = path.join(__dirname, '..')
const lock = path.join(root, 'requirements.lock')
const oldest = [3, 11]
const candidates = ['python3', 'python3.14', 'python3.13', 'python3.12', 'python3.11', 'python']
// Isolated and without site: nothing of the user's environment is imported, and the answer takes 10 ms.
const probe = ['-I', '-S', '-c', 'import sys; print(sys.executable, *sys.version_info[:2], sep="\\n")']
// Settings of the user's pip that would install somewhere else.
const pipVariables = { PIP_USER: '0', PIP_REQUIRE_VIRTUALENV: '0', PIP_TARGET: undefined, PIP_PREFIX: undefined }

/** An error whose message is the whole story: shown without a stack. */
class SetupError extends Error {}

/** A signal ended the work. */
class Interrupted extends Error {
  constructor(code) {
    super('interrupted while installing')
    this.code = code
  }
}

/** Run a program quietly: its result, or undefined where there is no such program. */
async function attempt(program, args, env = process.env) {
  let result
  try {
    result = await child.run(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env })
  } catch {
    return undefined
  }
  if (result.interrupted) throw new Interrupted(result.interrupted)
  return result
}

/** The interpreter behind a command, with its path and version; undefined where it doesn't answer. */
async function ask(command) {
  const answer = await attempt(command, probe)
  if (answer?.code !== 0) return undefined
  const [executable, major, minor] = answer.output.trim().split('\n')
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
  const found = seen.join(', ') || (wanted ? `${wanted} does not run` : 'there is none on the PATH')
  throw new SetupError(`kube-builder needs Python ${oldest.join('.')} or newer: ${found}; add actions/setup-python before this step, or name one with the input python`)
}

/** What uv, pip or venv complained about, on one line. */
function complaint(output) {
  const lines = output.split('\n').map((line) => line.trim()).filter(Boolean)
  return lines.findLast((line) => /^error/i.test(line)) ?? lines.at(-1) ?? 'no reason given'
}

/** Whether the interpreter has a pip that can install into another environment: 22.3 or newer. */
async function hasPip(python) {
  const answer = await attempt(python.executable, ['-m', 'pip', '--version'])
  const [major, minor] = (/^pip (\d+)\.(\d+)/.exec(answer?.output ?? '') ?? []).slice(1).map(Number)
  return answer?.code === 0 && (major > 22 || (major === 22 && minor >= 3))
}

/** Make an empty environment in `folder`; returns the command that installs into it. */
async function makeEnvironment(python, folder) {
  const inside = path.join(folder, 'bin', 'python')
  const venv = async (...options) => attempt(python.executable, ['-m', 'venv', ...options, folder])
  if ((await attempt('uv', ['venv', '--quiet', '--no-project', '--allow-existing', '--python', python.executable, folder]))?.code === 0) {
    return ['uv', 'pip', 'install', '--python', inside]
  }
  const pipOptions = ['--disable-pip-version-check', '--no-input', '--no-compile']
  // The outer pip installs into the private environment: one of its own would cost two seconds more.
  if (await hasPip(python)) {
    if ((await venv('--without-pip'))?.code === 0) return [python.executable, '-m', 'pip', '--python', inside, 'install', ...pipOptions]
  } else if ((await venv())?.code === 0) {
    return [inside, '-m', 'pip', 'install', ...pipOptions]
  }
  throw new SetupError(`kube-builder needs uv, pip or venv for ${python.executable}: install one (on Debian and Ubuntu: apt-get install python3-venv), or add actions/setup-python before this step`)
}

/** Fill `folder` with the locked packages: built ones only, each held against its hash, nothing left to resolve. */
async function fill(python, folder) {
  const [program, ...install] = await makeEnvironment(python, folder)
  // Modules are compiled when they are first imported: most never are.
  const options = ['--quiet', '--no-deps', '--only-binary', ':all:', '--require-hashes', '--requirement', lock]
  const installed = await attempt(program, [...install, ...options], { ...process.env, ...pipVariables })
  if (installed?.code !== 0) {
    throw new SetupError(`kube-builder cannot install its Python packages with ${python.executable}: ${complaint(installed?.output ?? '')}`)
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
  try {
    await fill(python, draft)
    fs.renameSync(draft, folder)
  } catch (error) {
    if (!fs.existsSync(folder)) throw error // else another job of this runner was first
  } finally {
    fs.rmSync(draft, { recursive: true, force: true })
  }
}

/** The interpreter of the private environment, which is made if it isn't there yet. */
async function prepare(wanted) {
  const python = await findPython(wanted)
  const key = createHash('sha256').update(fs.readFileSync(lock)).update(JSON.stringify([python.executable, python.version, process.arch]))
  const cache = process.env.RUNNER_TOOL_CACHE || path.join(os.homedir(), '.cache')
  const folder = path.join(cache, 'kube-builder', `${version()}-${key.digest('hex').slice(0, 16)}`)
  if (!fs.existsSync(folder)) {
    console.log(`kube-builder: installing its Python packages into ${folder}, once for this runner`)
    await install(python, folder)
  }
  return path.join(folder, 'bin', 'python')
}

module.exports = { Interrupted, SetupError, prepare }
