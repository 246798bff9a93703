import { sharedContract } from '../contracts/shared.ts'
import { natsTest } from '../support/with-nats.ts'
import { natsEngines } from './support.ts'

sharedContract({ test: natsTest, over: 'over NATS', engines: natsEngines })
