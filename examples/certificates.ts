// npx tsx examples/certificates.ts certs alice bob
//
// Makes a CA, a certificate for a server on localhost, and one for each client named, with mkcert.
// For development only: the folder contains the CA's key.

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createCA, createCert } from 'mkcert'

const validity = 30 // days

/** Writes `ca`, `server` and each client's `.key` and `.crt` into a folder. */
export async function makeCertificates(folder: string, clients: string[]): Promise<void> {
  const at = { countryCode: 'XX', state: 'None', locality: 'Nowhere' }
  const ca = await createCA({ organization: 'Cio example CA', validity, ...at })
  await mkdir(folder, { recursive: true })
  await write(folder, 'ca', ca)

  const server = createCert({ ca, domains: ['localhost', '127.0.0.1', '::1'], validity })
  await write(folder, 'server', await server)
  // The first domain becomes the common name.
  for (const name of clients) {
    await write(folder, name, await createCert({ ca, domains: [name], validity }))
  }
}

async function write(folder: string, name: string, pair: { key: string; cert: string }) {
  await writeFile(join(folder, `${name}.key`), pair.key, { mode: 0o600 })
  await writeFile(join(folder, `${name}.crt`), pair.cert)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder = 'certs', ...clients] = process.argv.slice(2)
  await makeCertificates(folder, clients)
  console.log(`${folder} has ca, server${clients.map((name) => `, ${name}`).join('')}`)
}
