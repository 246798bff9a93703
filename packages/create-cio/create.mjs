#!/usr/bin/env node
// npm create cio <name> [-- --template app|middleware]
//
// Copies a template, with the name in it. Plain JavaScript: it runs as it is published.

import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { compileFunction } from 'node:vm'

const here = dirname(fileURLToPath(import.meta.url))
const templates = ['app', 'middleware']
/** Cio's own steps. */
const steps = ['certs', 'connect', 'listen', 'secure']
const help = `Usage: npm create cio <folder> [-- --template ${templates.join('|')}]

Writes an application of Cio, or a middleware package for it. Without --template, a name that begins
with cio- is a middleware's, and any other an app's.
`

class UsageError extends Error {}

async function main() {
  const { values, positionals } = parse()
  if (values.help) return console.log(help.trimEnd())
  if (values.version) return console.log(await version())
  if (positionals.length > 1) throw new UsageError(`give one folder, not ${positionals.length}`)

  const given = positionals[0] ?? (await ask('Which folder? '))
  if (given === '') throw new UsageError('which folder? The name that was given is empty')
  const folder = resolve(given)
  const name = basename(folder)
  checkName(name)
  const template = values.template ?? (name.startsWith('cio-') ? 'middleware' : 'app')
  if (!templates.includes(template)) {
    throw new UsageError(`--template is ${templates.join(' or ')}, not ${template}`)
  }
  const names = await namesOf(name)
  await checkUse(template, names)
  await checkEmpty(folder)
  await copy(join(here, 'templates', template), folder, names)

  const place = relative(process.cwd(), folder)
  const steps = [...(place === '' ? [] : [`cd ${place}`]), 'npm install', 'npm test']
  console.log(`${folder} has ${template === 'app' ? 'an app' : 'a middleware package'}. Now:\n`)
  for (const step of steps) console.log(`  ${step}`)
}

function parse() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        template: { type: 'string', short: 't' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean' },
      },
    })
  } catch (error) {
    throw new UsageError(error.message.split('. ')[0])
  }
}

async function ask(question) {
  if (!process.stdin.isTTY) throw new UsageError('which folder?')
  const terminal = createInterface(process)
  try {
    const answer = (await terminal.question(question)).trim()
    if (answer === '') throw new UsageError('which folder?')
    return answer
  } finally {
    terminal.close()
  }
}

/** What npm takes, less what would be no name in a program. */
function checkName(name) {
  if (/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(name) && name.length <= 214) return
  throw new UsageError(
    `the folder's name becomes the package's: small letters and digits, and - between them; not ${JSON.stringify(name)}`,
  )
}

/** Refuses a name with which the project would not install or compile. */
async function checkUse(template, { name, camel, capital }) {
  const from = join(here, 'templates', template)
  const manifest = JSON.parse(await readFile(join(from, 'package.json'), 'utf8'))
  const { dependencies, devDependencies, peerDependencies } = manifest
  if (Object.hasOwn({ ...dependencies, ...devDependencies, ...peerDependencies }, name)) {
    throw new UsageError(`the project needs the package ${name}, so it needs another name`)
  }
  const files = await readdir(from, { recursive: true })
  const sources = files.filter((file) => file.endsWith('.ts'))
  const code = await Promise.all(sources.map((file) => readFile(join(from, file), 'utf8')))
  const text = code.join('\n')
  if (!text.includes('__camel__')) return
  const declared = text.matchAll(
    /^\s*(?:import|const|let|await using|for \(const) (.*?)(?: from| of |=)/gm,
  )
  const own = new Set([...declared].flatMap(([, names]) => names.match(/\w+/g)))
  const taken = [camel, `${capital}Options`, `${capital}Context`].find((one) => own.has(one))
  if (taken !== undefined || isReserved(camel) || steps.includes(camel)) {
    const why = isReserved(camel) ? 'a word of the language' : 'a name of Cio or of the template'
    throw new UsageError(`${name} makes a middleware \`${camel}\`, and ${taken ?? camel} is ${why}`)
  }
}

/** Whether a function of a module cannot have the name. */
function isReserved(name) {
  try {
    compileFunction(`'use strict'; return async () => { function ${name}() {} }`)
    return false
  } catch {
    return true
  }
}

async function checkEmpty(folder) {
  const there = await readdir(folder).catch((error) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  if (there.some((file) => file !== '.git')) throw new Error(`${folder} is there, and not empty`)
}

async function namesOf(name) {
  const words = name.replace(/^cio-(?=[a-z])/, '').split('-')
  const capital = words.map((word) => word[0].toUpperCase() + word.slice(1)).join('')
  const camel = capital[0].toLowerCase() + capital.slice(1)
  return { name, camel, capital, cio: await version() }
}

/** Cio and this go in step. */
async function version() {
  return JSON.parse(await readFile(join(here, 'package.json'), 'utf8')).version
}

async function copy(from, to, names) {
  await mkdir(to, { recursive: true })
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const source = join(from, entry.name)
    // npm leaves some files with a dot out of a package.
    const target = join(to, entry.name.replace(/^_/, '.'))
    if (entry.isDirectory()) await copy(source, target, names)
    else await writeFile(target, fill(await readFile(source, 'utf8'), names))
  }
}

/** `__camel__` stands for the name in a program: valid in TypeScript, JSON and Markdown alike. */
function fill(text, names) {
  return text.replace(/__(name|camel|capital|cio)__/g, (_, which) => names[which])
}

try {
  await main()
} catch (error) {
  console.error(`create-cio: ${error.message}`)
  if (error instanceof UsageError) console.error('  see `npm create cio -- --help`')
  process.exitCode = error instanceof UsageError ? 2 : 1
}
