'use strict'
// The Python that runs the product: a private environment in the runner's tool cache, keyed by version and lock,
// so that a warm start costs one look at a file.
const { execFileSync, spawnSync } = require('node:child_process')
const { createHash } = require('node:crypto')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const root = path.dirname(__dirname)
const lock = path.join(root, 'requirements.lock')
const oldest = [3, 11]
const probe = 'import sys; print(sys.executable, *sys.version_info[:2], sep="\\n")'

/** An error whose message is the whole story: shown without a stack. */
class SetupError extends Error {}

/** The interpreter's real path and version, or undefined where the command doesn't answer. */
function ask(command) {
  const answer = spawnSync(command, ['-c', probe], { encoding: 'utf8', timeout: 30_000 })
  if (answer.status !== 0) return undefined
  const [executable, major, minor] = answer.stdout.trim().split('\n')
  return { command, executable, version: [Number(major), Number(minor)] }
}

function isRecent({ version: [major, minor] }) {
  return major > oldest[0] || (major === oldest[0] && minor >= oldest[1])
}

/** The first interpreter that is recent enough: the `python` input alone if it is given. */
function findPython(wanted) {
  const candidates = wanted ? [wanted] : ['python3', 'python3.13', 'python3.12', 'python3.11', 'python']
  const found = candidates.map(ask).filter(Boolean)
  const chosen = found.find(isRecent)
  if (chosen) return chosen
  const seen = found.map((python) => `${python.command} is ${python.version.join('.')}`).join(', ') || `none of ${candidates.join(', ')} runs`
  throw new SetupError(`kube-builder needs Python ${oldest.join('.')} or newer: ${seen}; add actions/setup-python before this step, or name one with the input \`python\``)
}

function install(python, folder) {
  const draft = fs.mkdtempSync(`${folder}.draft-`)
  const run = (command, args) => execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' })
  try {
    run(python.executable, ['-m', 'venv', '--without-pip', draft])
    // The outer pip installs into the private environment: ensurepip would cost two seconds more.
    const pip = ['-m', 'pip', '--disable-pip-version-check', '--quiet', '--python', path.join(draft, 'bin', 'python')]
    run(python.executable, [...pip, 'install', '--only-binary', ':all:', '--require-hashes', '--requirement', lock])
    fs.writeFileSync(path.join(draft, 'complete'), '')
    try {
      fs.renameSync(draft, folder)
    } catch (error) {
      if (!fs.existsSync(path.join(folder, 'complete'))) throw error // another job of this runner was first
    }
  } catch (error) {
    throw new SetupError(`kube-builder cannot install its Python packages with ${python.executable}: ${String(error.stderr || error.message).trim().split('\n').pop()}`)
  } finally {
    fs.rmSync(draft, { recursive: true, force: true })
  }
}

/** The interpreter of the private environment, made if it isn't there yet. */
function prepare(wanted) {
  const python = findPython(wanted)
  const key = createHash('sha256').update(fs.readFileSync(lock)).update(python.executable).update(python.version.join('.')).digest('hex').slice(0, 16)
  const cache = path.join(process.env.RUNNER_TOOL_CACHE || path.join(os.homedir(), '.cache'), 'kube-builder')
  const folder = path.join(cache, key)
  if (!fs.existsSync(path.join(folder, 'complete'))) {
    fs.mkdirSync(cache, { recursive: true })
    install(python, folder)
  }
  return path.join(folder, 'bin', 'python')
}

module.exports = { SetupError, prepare, root }
