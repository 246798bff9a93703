/**
 * A signed document that is the same on all instances.
 *
 * It is stored in a table of the broker, which is not trusted. So an instance accepts a document
 * only if it is signed for this name and newer than the one in force. If the broker has lost it, or
 * has an older one, the instances write their copy back.
 */

import { CioError, type ServerContext, isCioError } from 'cio'
import { asError, debug, emitSafely, maxTimerDelay } from 'cio/kit'
import type { Cluster } from '../cluster.ts'
import type { Row, Table } from '../engine.ts'
import { readCopy, writeCopy } from './copy.ts'
import { type Document, type Subject, openDocument, signDocument } from './document.ts'
import { noCopyError, replayError } from './errors.ts'
import type { SharedSettings } from './options.ts'
import { type AppliedOptions, untilApplied } from './proof.ts'
import { resolvers } from '../resolvers.ts'
import { reserve } from '../reserve.ts'

const log = debug('cio:cluster')

const tableName = 'shared'

/** The common part of shared lists and shared trust. */
export interface SharedPart extends Subject {
  /** The middleware, in errors. */
  readonly owner: string
  /** Applies a value. If it rejects, the previous value stays in force. */
  readonly apply: (body: Uint8Array) => Promise<void>
}

declare module 'cio' {
  interface AppEvents {
    /** A revision of a shared list or of shared trust is in force on this instance. */
    sharedApplied: [name: string, revision: number, cluster: Cluster]
    /**
     * A revision was refused, and the previous one stays in force: it is not signed by the key, is
     * older, or cannot be applied. Or the last good copy could not be written.
     */
    sharedRefused: [error: Error, name: string, cluster: Cluster]
  }
}

export class Shared {
  readonly #cluster: Cluster
  readonly #part: SharedPart
  readonly #settings: SharedSettings
  readonly #servers = new Set<ServerContext>()
  /** The document in force. */
  #current: Document | undefined
  #loading: Promise<void> | undefined
  /** Whether the broker has nothing newer. */
  #isSynced = false
  #work: Promise<void> = Promise.resolve()
  #change = resolvers()

  constructor(cluster: Cluster, part: SharedPart, settings: SharedSettings) {
    this.#cluster = cluster
    this.#part = part
    this.#settings = settings
    reserve(cluster, part.owner, part.name)
    cluster.report(part.name, { revision: 0, digest: '' })
    cluster.whileUp((signal) => this.#follow(signal))
  }

  /** The revision in force; 0: none. */
  get revision(): number {
    return this.#current?.revision ?? 0
  }

  /**
   * Fulfils when a server may listen. Without a copy it may not: an instance without the list must
   * not admit every client.
   */
  async enter(ctx: ServerContext): Promise<() => void> {
    const { owner, name } = this.#part
    const { startTimeout } = this.#settings
    this.#servers.add(ctx)
    const late = resolvers()
    const over = new AbortController()
    const end = (): void => {
      over.abort()
      late.resolve()
    }
    const timer = setTimeout(end, Math.min(startTimeout, maxTimerDelay))
    ctx.draining.addEventListener('abort', end)
    try {
      await this.#load()
      while (!over.signal.aborted && !this.#isReady()) {
        await Promise.race([this.#change.promise, late.promise])
      }
      if (!this.#current) throw noCopyError(owner, name)
      return () => this.#servers.delete(ctx)
    } catch (error) {
      this.#servers.delete(ctx)
      throw error
    } finally {
      clearTimeout(timer)
      ctx.draining.removeEventListener('abort', end)
    }
  }

  /** Signs a value as the next revision, and publishes it to all instances. */
  async publish(body: Uint8Array): Promise<number> {
    const { owner, name } = this.#part
    const { signKey } = this.#settings
    if (!signKey) throw new CioError('ERR_CIO_OPTION', `${owner}: \`publish()\` needs \`signKey\``)
    await this.#load()
    const table = await this.#table()
    const row = await table.get(name)
    const before = row?.value ? this.#tryToOpen(row.value) : undefined
    const revision = 1 + Math.max(before?.revision ?? 0, this.revision)
    const bytes = signDocument(this.#part, revision, body, signKey)
    if (!this.#tryToOpen(bytes)) {
      throw new CioError('ERR_CIO_OPTION', `${owner}: \`signKey\` is not a key of \`verifyKey\``)
    }
    await table.replace(name, bytes, row?.revision ?? 0)
    return revision
  }

  /** Fulfils when all instances that are alive have a revision. */
  applied(revision: number, options?: AppliedOptions): Promise<ReadonlyMap<string, number>> {
    return untilApplied(this.#cluster, this.#part.name, revision, () => this.#current, options)
  }

  #isReady(): boolean {
    return this.#current !== undefined && (this.#isSynced || !this.#cluster.engine.isUp)
  }

  /** Reads the copy of the file, once. */
  #load(): Promise<void> {
    this.#loading ??= this.#readFile().catch((error: unknown) => {
      this.#loading = undefined
      throw error
    })
    return this.#loading
  }

  async #readFile(): Promise<void> {
    const { file, keys } = this.#settings
    const bytes = file === undefined ? undefined : await readCopy(file)
    if (!bytes) return
    const document = openDocument(this.#part, bytes, keys)
    await this.#part.apply(document.body)
    this.#hold(document)
  }

  #table(): Promise<Table> {
    return this.#cluster.engine.table(tableName, { ttl: Infinity })
  }

  async #follow(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => (this.#isSynced = false))
    try {
      await this.#load()
    } catch (error) {
      // `listen()` of the server rejects with this error.
      return log('%s: %s', this.#part.name, asError(error).message)
    }
    const table = await this.#table()
    let latest: Row | undefined
    let isWhole = false
    const take = (row: Row): void => {
      if (row.key !== this.#part.name) return
      latest = row
      if (isWhole) void this.#see(table, row)
    }
    await table.watch(take, { snapshot: true, signal })
    isWhole = true
    await this.#see(table, latest)
    this.#isSynced = !signal.aborted
    this.#changed()
  }

  /** One row after the other. */
  #see(table: Table, row: Row | undefined): Promise<void> {
    this.#work = this.#work
      .then(() => this.#judge(table, row))
      .catch((error: unknown) => this.#refuse(asError(error)))
    return this.#work
  }

  async #judge(table: Table, row: Row | undefined): Promise<void> {
    const { name } = this.#part
    const own = this.#current
    const found = row?.value ? openDocument(this.#part, row.value, this.#settings.keys) : undefined
    if (found?.digest === own?.digest) return
    if (own && (!found || found.revision < own.revision)) {
      if (found) this.#refuse(replayError(name, found, own))
      await this.#writeBack(table, row, own).catch((error: unknown) => {
        // Another instance was faster.
        if (!isCioError(error, 'ERR_CIO_STALE')) log('%s: %s', name, asError(error).message)
      })
      return
    }
    if (!found) return
    if (own?.revision === found.revision) throw replayError(name, found, own)
    await this.#part.apply(found.body)
    this.#hold(found)
    await this.#save(found)
  }

  async #writeBack(table: Table, row: Row | undefined, { bytes }: Document): Promise<void> {
    const { name } = this.#part
    const over = row?.value ? row : await table.get(name)
    // The table has the row again, and the watch delivers it.
    if (!row?.value && over?.value) return
    await table.replace(name, bytes, over?.revision ?? 0)
  }

  #hold(document: Document): void {
    const { name } = this.#part
    const { revision, digest } = (this.#current = document)
    log('%s: revision %d is in force', name, revision)
    this.#cluster.report(name, { revision, digest })
    for (const app of this.#apps()) emitSafely(app, 'sharedApplied', name, revision, this.#cluster)
    this.#changed()
  }

  async #save({ bytes }: Document): Promise<void> {
    const { file } = this.#settings
    if (file !== undefined) await writeCopy(file, bytes)
  }

  #refuse(error: Error): void {
    log('%s: %s', this.#part.name, error.message)
    const { name } = this.#part
    for (const app of this.#apps()) emitSafely(app, 'sharedRefused', error, name, this.#cluster)
  }

  #tryToOpen(bytes: Uint8Array): Document | undefined {
    try {
      return openDocument(this.#part, bytes, this.#settings.keys)
    } catch {
      return undefined
    }
  }

  #apps(): ReadonlySet<ServerContext['app']> {
    return new Set([...this.#servers].map(({ app }) => app))
  }

  #changed(): void {
    this.#change.resolve()
    this.#change = resolvers()
  }
}
