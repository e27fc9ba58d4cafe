'use strict'
// The interpreter that runs the product, and the way programs run before it.
//
// Every program runs in `/`, isolated, and with an environment of its own: the workspace's files (pip.py, uv.toml, …)
// are not found from there.
const child = require('./child')
const { findProgram, forInstallers, isOutside } = require('./workspace')

const oldest = [3, 11]
const candidates = ['python3', 'python3.14', 'python3.13', 'python3.12', 'python3.11', 'python']
// Isolated and without site: nothing of the user's environment is imported, and the answer takes 10 ms.
const question = 'import sys; print(sys.executable, getattr(sys, "_base_executable", sys.executable), sys.base_prefix, *sys.version_info[:2], sep="\\n")'
const probe = ['-I', '-S', '-c', question]
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

/**
 * Run a program quietly, with `temporary` as its folder for files and `more` variables.
 * @returns its result, or undefined if there is no such program
 */
async function attempt(program, args, temporary, more = {}) {
  let result
  try {
    const env = { ...quiet, ...(temporary && { TMPDIR: temporary }), ...more }
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
  const [executable, base, library, major, minor] = answer.output.trim().split('\n')
  if (![executable, base, library].every(isOutside)) return undefined
  return { command, executable, base, version: [Number(major), Number(minor)] }
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

module.exports = { Interrupted, SetupError, attempt, findPython, ignored }
