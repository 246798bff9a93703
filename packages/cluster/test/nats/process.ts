/** An instance in a process of its own, which a test commands and kills. */

import type { ExecutionContext } from 'ava'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { typescript } from '../../../../test/support/typescript.ts'

/** A broker, or a path to it. */
export interface Broker {
  readonly address: string
}

/** The process, and what it can be asked. */
export class Process<Command> {
  readonly child: ChildProcess
  readonly #answers = new Map<number, (result: unknown) => void>()
  #lastId = 0

  static async start<Command>(
    t: ExecutionContext,
    server: Broker,
    script: URL | string,
    ...more: readonly string[]
  ): Promise<Process<Command>> {
    const one = new Process<Command>(server, script, more)
    t.teardown(() => one.child.kill('SIGKILL'))
    await new Promise((resolve) => one.#answers.set(0, resolve))
    return one
  }

  private constructor(server: Broker, script: URL | string, more: readonly string[]) {
    const path = typeof script === 'string' ? script : fileURLToPath(script)
    this.child = fork(path, [server.address, ...more], { execArgv: ['--import', typescript] })
    this.child.on('message', ({ id, result }: { id: number; result: unknown }) => {
      this.#answers.get(id)?.(result)
      this.#answers.delete(id)
    })
    this.child.on('exit', () => {
      for (const answer of this.#answers.values()) answer(undefined)
    })
  }

  ask<Result>(command: Command): Promise<Result | undefined> {
    const id = ++this.#lastId
    return new Promise((resolve) => {
      this.#answers.set(id, resolve as (result: unknown) => void)
      this.child.send({ id, command }, (error) => {
        if (error) resolve(undefined)
      })
    })
  }

  async kill(): Promise<void> {
    const exit = once(this.child, 'exit')
    this.child.kill('SIGKILL')
    await exit
  }
}
