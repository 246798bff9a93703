/** The server of ssh2, mounted on connections; OpenSSH as the client. */

import test, { type ExecutionContext } from 'ava'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import ssh2 from 'ssh2'
import { Cio } from '../../src/index.ts'
import { serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'
import { execute, scratch, start } from './programs.ts'

const nothing = { reject: [], remoteError: [], error: [] }

/** A server of three commands: `hash` what it reads, say `many` bytes, `wait` for ever. */
function server() {
  const { private: hostKey } = ssh2.utils.generateKeyPairSync('ed25519')
  const ssh = new ssh2.Server({ hostKeys: [hostKey] }, (client) => {
    client.on('error', () => {})
    client.on('authentication', (asked) => asked.accept())
    client.on('session', (accept) => {
      accept().on('exec', (accept, _reject, { command }) => {
        const channel = accept()
        const leave = (code: number): void => {
          channel.exit(code)
          channel.end()
        }
        if (command === 'hash') {
          const hash = createHash('sha256')
          channel.on('data', (chunk: Buffer) => hash.update(chunk))
          channel.on('end', () => {
            channel.write(hash.digest('hex'))
            leave(0)
          })
        } else if (command === 'many') channel.write(Buffer.alloc(many, 'x'), () => leave(7))
        else channel.write('waiting\n')
      })
    })
  })
  const app = new Cio().useConnection(async ({ stream }, next) => {
    ssh.injectSocket(stream as Socket)
    await next()
  })
  return { app, told: recordEvents(app) }
}

const many = 3_000_000

/** The options of a client with a key of its own, that trusts any server. */
function options(t: ExecutionContext, port: number): string[] {
  const folder = scratch(t)
  const key = join(folder, 'key')
  writeFileSync(key, ssh2.utils.generateKeyPairSync('ed25519').private, { mode: 0o600 })
  const settings = {
    UserKnownHostsFile: join(folder, 'hosts'),
    StrictHostKeyChecking: 'no',
    BatchMode: 'yes',
    IdentitiesOnly: 'yes',
    ConnectTimeout: '20',
    LogLevel: 'ERROR',
  }
  const set = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  return ['-F', '/dev/null', ...set, '-i', key, '-p', String(port), 'ann@127.0.0.1']
}

test.serial(
  'ssh sends megabytes and gets megabytes and an exit code, and its connections end',
  async (t) => {
    const { app, told } = server()
    const listening = await serve(t, app)
    const at = options(t, listening.port)
    const input = randomBytes(many)
    let closed = once(app, 'close')
    const hashed = await execute(t, 'ssh', [...at, 'hash'], { input })
    t.is(hashed.stdout, createHash('sha256').update(input).digest('hex'), hashed.stderr)
    await closed
    closed = once(app, 'close')
    const said = await execute(t, 'ssh', [...at, 'many'])
    t.is(said.stdout.length, many)
    t.is(said.code, 7)
    await closed
    t.is(listening.connections.size, 0)
    t.deepEqual(told, nothing)
  },
)

test.serial('a client that is killed leaves no connection behind', async (t) => {
  const { app } = server()
  const listening = await serve(t, app)
  const { child } = start(t, 'ssh', [...options(t, listening.port), 'wait'])
  await once(child.stdout!, 'data')
  const closed = once(app, 'close')
  child.kill('SIGKILL')
  await closed
  t.is(listening.connections.size, 0)
})
