/** A real `nats-server` with JetStream, for a test that ends, freezes and restarts it. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { ownPort } from '../../../../test/support/ports.ts'

/** The controls with which a test ends a server. */
export interface Teardown {
  teardown(end: () => unknown): void
}

/** The path of `nats-server`, or undefined: tests that need it are then skipped. */
export function natsServerPath(): string | undefined {
  return findProgram('nats-server')
}

/** The path of a program, also where Debian has it outside of a user's path. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/bin']
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path))
}

/** Its version, for the log of a test. */
export function natsServerVersion(): string {
  return spawnSync(natsServerPath()!, ['--version'], { encoding: 'utf8' }).stdout.trim()
}

export class NatsServer {
  readonly port: number
  readonly store: string
  #config: string | undefined
  #child: ChildProcess | undefined
  #log = (): string => ''

  static async start(t: Teardown, config?: string): Promise<NatsServer> {
    const server = new NatsServer(await ownPort(), config)
    t.teardown(() => server.end())
    await server.start()
    return server
  }

  private constructor(port: number, config?: string) {
    this.port = port
    this.#config = config
    this.store = mkdtempSync(join(tmpdir(), 'cio-nats-'))
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  get pid(): number {
    return this.#child!.pid!
  }

  /** Starts it, or starts it again with what it has stored, with this configuration from now on. */
  async start(config: string | undefined = this.#config): Promise<void> {
    this.#config = config
    const words = ['-a', '127.0.0.1', '-p', String(this.port), '-js', '-sd', this.store]
    if (this.#config !== undefined) {
      const path = join(this.store, 'nats.conf')
      writeFileSync(path, this.#config)
      words.push('-c', path)
    }
    const child = spawn(natsServerPath()!, words, { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#child = child
    let said = ''
    this.#log = () => said
    await new Promise<void>((resolve, reject) => {
      child.stderr.on('data', (chunk: Buffer) => {
        said += chunk.toString()
        if (said.includes('Server is ready')) resolve()
      })
      child.once('error', reject)
      child.once('exit', (code) => reject(new Error(`nats-server ended with ${code}: ${said}`)))
    })
  }

  /** As a loss of power would, but for what the kernel has. */
  async kill(): Promise<void> {
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
  }

  /** Fulfils when its log has this. */
  async says(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.#log())) await once(this.#child!.stderr!, 'data')
  }

  freeze(): void {
    this.#child!.kill('SIGSTOP')
  }

  thaw(): void {
    this.#child!.kill('SIGCONT')
  }

  /** Loses what it has stored. */
  forget(): void {
    rmSync(this.store, { recursive: true, force: true })
  }

  async end(): Promise<void> {
    await this.kill()
    this.forget()
  }
}
