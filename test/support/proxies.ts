/** Real proxies: microsocks, and those of the npm package proxy-chain. */

import type { ExecutionContext } from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { type PrepareRequestFunctionOpts, Server as ProxyServer } from 'proxy-chain'
import { contents } from './certificates.ts'
import { ownPort } from './ports.ts'

/** Where a proxy listens, and what it was asked for. */
export interface Proxy {
  readonly host: string
  readonly port: number
  readonly asked: readonly string[]
}

const host = '127.0.0.1'
const mostTries = 5

/** A SOCKS5 proxy; with a user and a password, nobody else is let in. */
export async function socksProxy(
  t: ExecutionContext,
  login?: { username: string; password: string },
): Promise<Proxy> {
  const secret = login ? ['-u', login.username, '-P', login.password] : []
  for (let tries = 0; tries < mostTries; tries++) {
    // It cannot listen on any port and tell which: somebody else may be faster.
    const port = await ownPort()
    const child = spawn('microsocks', ['-i', host, '-p', String(port), ...secret], {
      stdio: 'ignore',
    })
    t.teardown(() => child.kill())
    const exited = once(child, 'exit').then(() => false)
    if (await Promise.race([exited, untilListening(port)])) return { host, port, asked: [] }
  }
  throw new Error('microsocks does not listen')
}

/** An HTTP proxy, over TLS or not; with a user and a password, nobody else is let in. */
export async function httpProxy(
  t: ExecutionContext,
  {
    login,
    tls = false,
  }: { readonly login?: { username: string; password: string }; readonly tls?: boolean } = {},
): Promise<Proxy> {
  const asked: string[] = []
  const options = {
    host,
    port: 0,
    prepareRequestFunction: ({
      hostname,
      port,
      username,
      password,
    }: PrepareRequestFunctionOpts) => {
      asked.push(`${hostname}:${port}`)
      const known = username === login?.username && password === login?.password
      return { requestAuthentication: login !== undefined && !known }
    },
  }
  const httpsOptions = { key: contents('server.key'), cert: contents('server.crt') }
  const server = new ProxyServer(
    tls ? { ...options, serverType: 'https', httpsOptions } : { ...options, serverType: 'http' },
  )
  await server.listen()
  t.teardown(() => server.close(true))
  return { host, port: server.port, asked }
}

async function untilListening(port: number): Promise<boolean> {
  for (;;) {
    const socket = connect(port, host)
    const answered = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true))
      socket.once('error', () => resolve(false))
    })
    socket.destroy()
    if (answered) return true
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
