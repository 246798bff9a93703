import test from 'ava'
import { roomsContract } from '../contracts/rooms.ts'
import { rooms } from '../../src/index.ts'

roomsContract(test, { create: (_, options) => [{ rooms: rooms(options) }] })
