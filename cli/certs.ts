/** `cio certs`: a CA and certificates for development. */

import { X509Certificate } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Command, UsageError, defineCommand, numberOf } from './command.ts'
import { exitCodes } from './failure.ts'
import { find } from './find.ts'
import { note, paint, progress } from './terminal.ts'

const defaultDays = 365
const thisHost = ['localhost', '127.0.0.1', '::1']

interface Pair {
  readonly key: string
  readonly cert: string
}

interface Mkcert {
  readonly createCA: (options: object) => Promise<Pair>
  readonly createCert: (options: object) => Promise<Pair>
}

export const certs: Command = defineCommand({
  name: 'certs',
  says: 'makes a CA, and certificates for a server and for clients, for development',
  usage: '[client …]',
  prose: `Each client gets a certificate with its name, the server one for its hosts. What is there
already is kept, so that clients can be added later. Whoever has the folder has the CA's key: it is
for development, and stays out of git.`,
  options: {
    host: { type: 'string', multiple: true, value: 'name', says: 'a host of the server' },
    folder: { type: 'string', value: 'path', says: 'the output folder; certs by default' },
    days: { type: 'string', value: 'count', says: `validity in days; ${defaultDays} by default` },
    force: { type: 'boolean', says: 'makes all of them again, the CA too' },
  },
  examples: ['cio certs alice bob --host localhost', 'cio certs carol --folder test/certs'],
  async run(clients, { host, folder = 'certs', days, force = false }) {
    const validity = numberOf('days', days) ?? defaultDays
    if (validity === 0) throw new UsageError('--days is at least 1')
    clients.forEach(checkName)
    const { createCA, createCert } = await mkcert()
    await mkdir(folder, { recursive: true })
    await keepFromGit(join(folder, '.gitignore'))
    const hosts = (host ?? thisHost).flatMap((one) => (one === 'localhost' ? thisHost : [one]))

    const isThere = (name: string): boolean => !force && existsSync(join(folder, `${name}.crt`))
    const put = async (name: string, make: () => Promise<Pair>): Promise<void> => {
      if (isThere(name)) return told(join(folder, `${name}.crt`), 'kept')
      const pair = await progress(`making ${name}.crt`, make())
      await writeFile(join(folder, `${name}.key`), pair.key, { mode: 0o600 })
      await writeFile(join(folder, `${name}.crt`), pair.cert)
      told(join(folder, `${name}.crt`), 'made')
    }
    if (host && isThere('server')) {
      throw new UsageError(`${join(folder, 'server.crt')} exists already; --force makes all again`)
    }

    const at = { countryCode: 'XX', state: 'None', locality: 'Nowhere' }
    await put('ca', () => createCA({ organization: 'Cio development CA', validity, ...at }))
    const ca = await readCa(folder)
    await put('server', () => createCert({ ca, domains: [...new Set(hosts)], validity }))
    for (const name of clients) await put(name, () => createCert({ ca, domains: [name], validity }))
    process.stdout.write(howToUse(folder, clients))
    return exitCodes.fine
  },
})

async function mkcert(): Promise<Mkcert> {
  const url = find('mkcert')
  if (url !== undefined) {
    const module = (await import(url)) as Mkcert & { default?: Mkcert }
    return module.default ?? module
  }
  throw new Error('it needs the package mkcert: npm install --save-dev mkcert')
}

/** An existing `.gitignore` belongs to the project. */
async function keepFromGit(file: string): Promise<void> {
  const everything = '*\n'
  if (!existsSync(file)) return writeFile(file, everything)
  if ((await readFile(file, 'utf8')) === everything) return
  note(`${file} exists already and stays unchanged: make sure that no key is committed to git`)
}

function checkName(name: string): void {
  // The longest common name of RFC 5280.
  if (/^\w[\w.@+-]{0,63}$/.test(name) && !['ca', 'server'].includes(name.toLowerCase())) return
  throw new UsageError(
    `a client's name has letters, digits and . @ + - _, and is neither ca nor server: ${JSON.stringify(name)}`,
  )
}

async function readCa(folder: string): Promise<Pair> {
  const [key, cert] = await Promise.all(
    ['ca.key', 'ca.crt'].map((file) => readFile(join(folder, file), 'utf8')),
  )
  const { validTo } = new X509Certificate(cert!)
  if (Date.parse(validTo) > Date.now()) return { key: key!, cert: cert! }
  throw new Error(`${join(folder, 'ca.crt')} has expired on ${validTo}; --force makes all again`)
}

function told(file: string, what: 'made' | 'kept'): void {
  const style = what === 'made' ? 'green' : 'dim'
  process.stdout.write(`${paint(style, what, process.stdout)}  ${file}\n`)
}

function howToUse(folder: string, [client = 'alice']: readonly string[]): string {
  const file = (name: string): string => join(folder, name)
  return `
A server that asks for certificates:

  app.useServer(certs({
    key: '${file('server.key')}',
    cert: '${file('server.crt')}',
    ca: '${file('ca.crt')}',
  }))
  app.useConnection(allowList(['${client}']))

The same, without a program, and a client to it:

  npx cio listen 7000 --echo --key ${file('server.key')} --cert ${file('server.crt')} --ca ${file('ca.crt')} --allow ${client}
  npx cio connect localhost:7000 --key ${file(`${client}.key`)} --cert ${file(`${client}.crt`)} --ca ${file('ca.crt')}
`
}
