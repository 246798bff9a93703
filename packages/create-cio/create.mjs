#!/usr/bin/env node
// npm create cio <name> [-- --template app|middleware]
//
// Copies a template, with the name in it. Plain JavaScript: it runs as it is published.

import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const here = dirname(fileURLToPath(import.meta.url))
const templates = ['app', 'middleware']
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

  const folder = resolve(positionals[0] ?? (await ask('Which folder? ')))
  const name = basename(folder)
  checkName(name)
  const template = values.template ?? (name.startsWith('cio-') ? 'middleware' : 'app')
  if (!templates.includes(template)) {
    throw new UsageError(`--template is ${templates.join(' or ')}, not ${template}`)
  }
  await checkEmpty(folder)
  await copy(join(here, 'templates', template), folder, await namesOf(name))

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
