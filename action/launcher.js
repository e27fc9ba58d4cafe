'use strict'
// The command `kube-builder` for the scripts of later steps: a file in a folder of its own in the job's temporary folder.
const fs = require('node:fs')
const path = require('node:path')
const { isOutside } = require('./workspace')

const name = 'kube-builder'

/** Put a script that runs `command` on the PATH of later steps; nothing happens if the runner has no such list. */
function offer(command) {
  const { GITHUB_PATH: list, GITHUB_STATE: state, RUNNER_TEMP: temporary } = process.env
  if (!list || !state || !temporary || !isOutside(temporary)) return
  const folder = fs.mkdtempSync(path.join(temporary, 'kube-builder-path-'))
  fs.appendFileSync(state, `launcher=${folder}\n`)
  fs.writeFileSync(path.join(folder, name), `#!/bin/sh\nexec ${command.map(quote).join(' ')} "$@"\n`, { mode: 0o755 })
  fs.appendFileSync(list, `${folder}\n`)
}

function quote(word) {
  return `'${word.replaceAll("'", "'\\''")}'`
}

/** Remove what `offer` has made. */
function withdraw() {
  const folder = process.env.STATE_launcher
  if (!folder) return
  try {
    fs.rmSync(path.join(folder, name), { force: true })
    fs.rmdirSync(folder)
  } catch {
    // It is in the job's temporary folder, which the runner empties.
  }
}

module.exports = { offer, withdraw }
