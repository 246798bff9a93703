/** The counters and histograms. Gauges are read at the time of a scrape. */

import type { ByteCounts } from 'cio/kit'
import { type Attributes, Counter, Family, Histogram, type Place } from '../instruments.ts'
import { type MetricKey, metrics } from '../metrics.ts'

export interface Families {
  readonly opened: Family<Counter>
  readonly duration: Family<Histogram>
  readonly refused: Family<Counter>
  readonly dropped: Family<Counter>
  readonly io: Family<Counter>
  readonly stepDuration: Family<Histogram>
  readonly handshake: Family<Histogram>
  readonly clientConnect: Family<Histogram>
  readonly clientDuration: Family<Histogram>
  readonly clientReconnects: Family<Counter>
  readonly rpcServer: Family<Histogram>
  readonly rpcClient: Family<Histogram>
}

/** @param most Series of one metric */
export function families(most: number): Families {
  const counter = (key: MetricKey): Family<Counter> =>
    new Family(metrics[key], most, () => new Counter())
  const histogram = (key: MetricKey): Family<Histogram> =>
    new Family(metrics[key], most, () => new Histogram(metrics[key].buckets!))
  return {
    opened: counter('opened'),
    duration: histogram('duration'),
    refused: counter('refused'),
    dropped: counter('dropped'),
    io: counter('io'),
    stepDuration: histogram('stepDuration'),
    handshake: histogram('handshake'),
    clientConnect: histogram('clientConnect'),
    clientDuration: histogram('clientDuration'),
    clientReconnects: counter('clientReconnects'),
    rpcServer: histogram('rpcServer'),
    rpcClient: histogram('rpcClient'),
  }
}

/** Adds to the four sums of a place. */
export function addBytes(
  io: Family<Counter>,
  place: Place,
  { rx, tx, wireRx, wireTx }: ByteCounts,
): void {
  if (wireRx > 0) io.of(place, 'receive wire', ioAttributes).value += wireRx
  if (wireTx > 0) io.of(place, 'transmit wire', ioAttributes).value += wireTx
  if (rx > 0) io.of(place, 'receive plain', ioAttributes).value += rx
  if (tx > 0) io.of(place, 'transmit plain', ioAttributes).value += tx
}

function ioAttributes(word: string): Attributes {
  const [direction, layer] = word.split(' ') as [string, string]
  return { 'network.io.direction': direction, 'cio.io.layer': layer }
}

export function stepAttributes(name: string): Attributes {
  return { 'cio.step.name': name }
}
