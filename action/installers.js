'use strict'
// Installs locked packages: built ones only, each held against its hash, nothing left to resolve and nothing compiled.
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { SetupError, attempt } = require('./python')
const { findProgram } = require('./workspace')

const runPip = path.join(__dirname, 'run_pip.py')
const atOnce = Math.min(3, os.availableParallelism()) // pips: each spends most of its time on reading the index's pages
const unneeded = /^(bin|__pycache__|\.lock|.*\.dist-info)$/ // scripts, and what installers note down

/**
 * Fill `target` with the packages of a lock's entries. `folder` holds all that is needed meanwhile.
 * @throws {SetupError} if no installer is found, or none succeeds
 */
async function fill(python, entries, folder, target) {
  const complaints = []
  for await (const installer of installers(python, folder)) {
    const place = fs.mkdtempSync(path.join(folder, 'parts-')) // what an earlier installer has left does not count
    const parts = split(entries, installer.parts)
    const results = await Promise.allSettled(parts.map((part, number) => installPart(installer.command, part, path.join(place, String(number)), folder)))
    const failed = results.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
    if (results.every(({ value }) => value?.code === 0)) {
      for (const number of parts.keys()) merge(path.join(place, String(number)), target)
      return
    }
    const worst = results.find(({ value }) => value?.code)
    if (worst) complaints.push(complaint(worst.value.output))
  }
  if (!complaints.length) {
    throw new SetupError(`kube-builder needs uv, pip or venv for ${python.executable}: install one (on Debian and Ubuntu: apt-get install python3-venv), or add actions/setup-python before this step`)
  }
  throw new SetupError(`kube-builder cannot install its Python packages with ${python.executable}: ${complaints.at(-1)}`)
}

async function installPart([program, ...words], entries, target, folder) {
  const list = `${target}.txt`
  fs.mkdirSync(target)
  fs.writeFileSync(list, entries.join(''))
  const options = ['--quiet', '--target', target, '--no-deps', '--only-binary', ':all:', '--require-hashes', '--requirement', list]
  return attempt(program, [...words, ...options], folder)
}

/** Entries in turn for each part: the large packages are not neighbours. */
function split(entries, count) {
  const parts = Array.from({ length: Math.min(count, entries.length) }, () => [])
  for (const [number, entry] of entries.entries()) parts[number % parts.length].push(entry)
  return parts
}

/** Move what is needed of `source`, an installation, into `target`. */
function merge(source, target) {
  for (const name of fs.readdirSync(source)) {
    if (!unneeded.test(name)) fs.renameSync(path.join(source, name), path.join(target, name))
  }
}

/** The installers, best first; the next one is asked for when the one before has failed. */
async function * installers(python, folder) {
  // Interpreters run without site, or are new: what earlier steps have installed may run files of the checkout.
  const isolated = [python.executable, '-I', '-S']
  const options = ['install', '--disable-pip-version-check', '--no-input', '--no-compile', '--no-cache-dir']
  // Packages of uv's cache are not held against their hashes again, so it does not count.
  const uv = findProgram('uv')
  if (uv) {
    yield { command: [uv, 'pip', 'install', '--no-cache', '--python', makeBareEnvironment(python, folder)], parts: 1 }
  }
  const own = path.join(folder, 'venv')
  if ((await attempt(isolated[0], [...isolated.slice(1), runPip, '--find']))?.code === 0) {
    yield { command: [...isolated, runPip, ...options, '--few-platforms'], parts: atOnce }
    yield { command: [...isolated, runPip, ...options], parts: atOnce } // a wheel may be for another platform
  } else if ((await attempt(isolated[0], [...isolated.slice(1), '-m', 'venv', own], folder))?.code === 0) {
    yield { command: [path.join(own, 'bin', 'python'), '-I', '-m', 'pip', ...options], parts: atOnce }
  }
}

/** A virtual environment without packages, as venv makes it in thirty times the time: its interpreter. */
function makeBareEnvironment({ base, version }, folder) {
  const environment = path.join(folder, 'bare')
  const interpreter = path.join(environment, 'bin', 'python')
  fs.mkdirSync(path.join(environment, 'lib', `python${version.join('.')}`, 'site-packages'), { recursive: true })
  fs.mkdirSync(path.dirname(interpreter))
  fs.symlinkSync(base, interpreter)
  fs.writeFileSync(path.join(environment, 'pyvenv.cfg'), `home = ${path.dirname(base)}\ninclude-system-site-packages = false\n`)
  return interpreter
}

/** What uv, pip or venv complained about, on one line. */
function complaint(output) {
  const lines = output.split('\n').map((line) => line.trim()).filter(Boolean)
  return lines.findLast((line) => /^error/i.test(line)) ?? lines.at(-1) ?? 'no reason given'
}

module.exports = { fill }
