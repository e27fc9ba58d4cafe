'use strict'
// The workspace holds files of the author of the commit. Programs that we start are found outside of it, run outside of
// it, and get an environment that does not lead into it. ci_buildx/model/programs.py has the same rule for the product.
const fs = require('node:fs')
const path = require('node:path')

const loaders = [
  'LD_PRELOAD', 'LD_LIBRARY_PATH', 'LD_AUDIT', 'DYLD_INSERT_LIBRARIES', 'DYLD_LIBRARY_PATH',
  'OPENSSL_CONF', 'OPENSSL_MODULES', 'OPENSSL_ENGINES', 'GCONV_PATH',
]
// What the installers may know: the runner's locale, proxies, certificates and indexes. No input and no token is here.
const texts = new Set([
  'LANG', 'LC_ALL', 'LC_CTYPE', 'TZ', 'USER', 'LOGNAME',
  'HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'all_proxy', 'no_proxy',
  'PIP_INDEX_URL', 'PIP_EXTRA_INDEX_URL', 'PIP_NO_INDEX', 'PIP_TRUSTED_HOST', 'PIP_PROXY', 'PIP_TIMEOUT',
  'PIP_DEFAULT_TIMEOUT', 'PIP_RETRIES', 'PIP_KEYRING_PROVIDER', 'PIP_USE_FEATURE', 'PIP_USE_DEPRECATED',
  'UV_INDEX', 'UV_INDEX_URL', 'UV_DEFAULT_INDEX', 'UV_EXTRA_INDEX_URL', 'UV_INDEX_STRATEGY', 'UV_NO_INDEX',
  'UV_HTTP_TIMEOUT', 'UV_HTTP_RETRIES', 'UV_NATIVE_TLS', 'UV_SYSTEM_CERTS', 'UV_INSECURE_HOST', 'UV_KEYRING_PROVIDER',
  'UV_OFFLINE', 'PYENV_VERSION',
])
const indexes = /^(PIP|UV)_(\w+_)?INDEX(_URL)?$/ // may be a folder, without the scheme of a URL
const logins = /^UV_INDEX_\w+_(USERNAME|PASSWORD)$/
const paths = new Set([
  'HOME', 'XDG_CONFIG_HOME', 'XDG_CONFIG_DIRS', 'XDG_CACHE_HOME', 'XDG_DATA_HOME', 'NETRC', ...loaders,
  'SSL_CERT_FILE', 'SSL_CERT_DIR', 'SSL_CLIENT_CERT', 'REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE',
  'PIP_CERT', 'PIP_CLIENT_CERT', 'PIP_CONFIG_FILE', 'PIP_FIND_LINKS', 'PIP_CACHE_DIR', 'UV_CONFIG_FILE', 'UV_FIND_LINKS',
  'PYENV_ROOT', 'ASDF_DIR', 'ASDF_DATA_DIR', 'MISE_DATA_DIR',
])

/** The path behind all links, also of what does not exist. */
function resolve(name) {
  try {
    return fs.realpathSync(name)
  } catch {
    const above = path.dirname(name)
    return above === name ? name : path.join(resolve(above), path.basename(name))
  }
}

/** What the CI system calls its workspace, and the checkout around the working directory if it is not the user's home. */
function findWorkspaces() {
  const found = [process.env.GITHUB_WORKSPACE, process.env.CI_PROJECT_DIR].filter((name) => name?.startsWith('/'))
  const home = resolve(process.env.HOME || '/')
  for (let folder = workingFolder(); folder !== '/'; folder = path.dirname(folder)) {
    if (!fs.existsSync(path.join(folder, '.git'))) continue
    if (!isBelow(home, resolve(folder))) found.push(folder)
    break
  }
  return found.map(resolve).filter((folder) => folder !== '/')
}

function workingFolder() {
  try {
    return process.cwd()
  } catch {
    return '/' // it has been removed
  }
}

function isBelow(name, folder) {
  return name === folder || name.startsWith(`${folder}/`)
}

const workspaces = findWorkspaces()

/** Whether a path is absolute and outside of every workspace, as written and behind all links. */
function isOutside(name) {
  if (!name.startsWith('/')) return false
  const places = [path.normalize(name), resolve(name)]
  return !workspaces.some((folder) => places.some((place) => isBelow(place, folder)))
}

/** The folders of PATH that are outside of every workspace. */
function safeFolders() {
  return (process.env.PATH ?? '').split(':').filter(isOutside)
}

/** The path of a program: the first on the PATH that is outside of every workspace, also behind its own links. */
function findProgram(name) {
  const places = name.includes('/') ? [name] : safeFolders().map((folder) => path.join(folder, name))
  return places.find((place) => isOutside(place) && isExecutable(place))
}

function isExecutable(place) {
  try {
    fs.accessSync(place, fs.constants.X_OK)
    return fs.statSync(place).isFile()
  } catch {
    return false
  }
}

/** Whether no file that a variable names is relative or in a workspace. */
function isHarmless(name, value) {
  return value.split(paths.has(name) ? /[:\s,]+(?!\/\/)/ : /[\s,]+/).every((word) => {
    const [, scheme, host, place] = /^(?:[\w-]+=)?(?:([a-z][a-z0-9+.-]*):(\/\/[^/]*)?)?(.*)$/i.exec(word)
    if (scheme && /file$/i.test(scheme)) return isOutside(decode(place))
    if (scheme && (host || !paths.has(name))) return true
    const isPath = paths.has(name) || (indexes.test(name) && /^[.~]|\//.test(place))
    return !isPath || word === '' || isOutside(place)
  })
}

/** The path of a URL; one that cannot be read is nowhere. */
function decode(text) {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}

/** The environment for the programs that find and fill our own, and the names of the variables that lead astray. */
function forInstallers() {
  const made = { PATH: safeFolders().join(':'), PIP_USER: '0', PIP_REQUIRE_VIRTUALENV: '0', UV_LINK_MODE: 'copy' }
  const ignored = []
  for (const [name, value] of Object.entries(process.env)) {
    if (!texts.has(name) && !paths.has(name) && !logins.test(name)) continue
    if (isHarmless(name, value)) made[name] = value
    else ignored.push(name)
  }
  return { env: made, ignored }
}

/** The environment for the product: the job's own, without libraries of a workspace. */
function forProduct() {
  const made = { ...process.env }
  for (const name of loaders) {
    if (made[name] !== undefined && !isHarmless(name, made[name])) delete made[name]
  }
  return made
}

module.exports = { findProgram, forInstallers, forProduct, isOutside }
