/** A real HAProxy in front of, or behind, what is tested. */

import type { ExecutionContext } from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { contents } from './certificates.ts'
import { descriptorOf } from './socket-activation.ts'

/** How a HAProxy listens, and to where it goes on. */
export interface HaproxyOptions {
  /** What follows the address of `bind`, such as `'accept-proxy'`. `{pem}` is the server's certificate. */
  readonly bind?: string
  /** What follows the address of `server`, such as `'send-proxy'`. */
  readonly server?: string
  /** More lines of its section. */
  readonly lines?: readonly string[]
  /** The port that it goes on to. */
  readonly to: number
}

/**
 * Starts one in TCP mode, and ends it with the test. It is there when this has fulfilled: it
 * inherits a socket that listens already, on a port that the kernel has given.
 */
export async function haproxy(
  t: ExecutionContext,
  { bind = '', server = '', lines = [], to }: HaproxyOptions,
): Promise<{ port: number }> {
  const directory = mkdtempSync(join(tmpdir(), 'cio-haproxy-'))
  const pem = join(directory, 'server.pem')
  writeFileSync(pem, Buffer.concat([contents('server.crt'), contents('server.key')]))
  const file = join(directory, 'haproxy.cfg')
  writeFileSync(
    file,
    [
      'global',
      '  nbthread 1',
      'defaults',
      '  mode tcp',
      '  timeout connect 5s',
      '  timeout client 10s',
      '  timeout server 10s',
      '  default-server init-addr none',
      'listen test',
      `  bind fd@3 ${bind.replaceAll('{pem}', pem)}`,
      ...lines.map((line) => `  ${line}`),
      `  server app 127.0.0.1:${to} ${server}`,
      '',
    ].join('\n'),
  )

  const listening = createServer()
  listening.listen(0, '127.0.0.1')
  await once(listening, 'listening')
  const address = listening.address()
  const child = spawn('haproxy', ['-db', '-f', file], {
    stdio: ['ignore', 'ignore', 'pipe', descriptorOf(listening)],
  })
  // The child has it now; here, it would take connections away from it.
  listening.close()
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const exit = once(child, 'exit')
  let ending = false
  void exit.then(([code]) => {
    if (!ending) t.log(`haproxy ended by itself, with ${code}: ${said}`)
  })
  t.teardown(async () => {
    ending = true
    child.kill()
    await exit
    rmSync(directory, { recursive: true, force: true })
  })
  await once(child, 'spawn')
  return { port: typeof address === 'object' && address ? address.port : 0 }
}
