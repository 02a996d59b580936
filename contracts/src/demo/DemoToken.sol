// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A token without worth, for a chain of one's own
/// @notice Its owner makes as much of it as is wanted: for the demonstration and the tests, never for a real network.
contract DemoToken is ERC20, Ownable {
    uint8 private immutable DECIMALS;

    constructor(string memory name, string memory symbol, uint8 decimals_, address owner_)
        ERC20(name, symbol)
        Ownable(owner_)
    {
        DECIMALS = decimals_;
    }

    /// @notice Make tokens.
    function mint(address to, uint256 amount) external onlyOwner {
        _mint(to, amount);
    }

    function decimals() public view override returns (uint8) {
        return DECIMALS;
    }
}
